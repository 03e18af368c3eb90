from runner import case
import os
CONF='''
[features]
utimensat = {}
utime_now = {}
[settings]
naptime = 0.02
allow_remount = false
expected_failures = []
[dummy_auth]
entries = [ ["games","games"], ["man","man"] ]
'''
@case(seconds_max=900)
def pjd(env):
    from lab import Lab
    lab = Lab(env, "conformance").init(); env.labs.append(lab)
    lab.load("acme/shop/t", "id\n1\n", "id"); lab.start()
    d = f"{lab.mount()}/acme/shop/work"
    o = env.oracle.directory()
    import shutil
    for t in ("pjdfstest","fsx"): shutil.copy(f"/var/tmp/mountable-tools/bin/{t}", env.guest.share/t)
    for name, where in (("oracle", o), ("gateway", d)):
        r = env.guest.run(f"mkdir -p {where}; chmod 777 {where}; cat > /run/p.toml <<'X'\n{CONF}\nX\n cd {where} && timeout 400 $SHARE/pjdfstest -c /run/p.toml -p {where}; echo rc $?; timeout 100 $SHARE/fsx -N 3000 -S 7 -P /run {where}/fsx.dat; echo rc $?", 900)
        open(f"/tmp/pjd-{name}.txt","wb").write(r.out+r.err)
