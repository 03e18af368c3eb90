//! A hostile network in front of a real gateway: what it sends costs little, is never believed,
//! and others are served meanwhile.

use std::io::{Read, Write};
use std::time::Duration;

use crate::counts::count;
use crate::rpc::{Client, Gateway, MOUNT, NFS, Place, opaque, status};

/// What all of it together may cost.
const RISE_KIB_MAX: u64 = 64 << 10;
const BADHANDLE: u32 = 10_001;

fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn random_bytes(seed: &mut u64, length: usize) -> Vec<u8> {
    (0..length).map(|_| random(seed).to_le_bytes()[0]).collect()
}

/// Whether the gateway closes the connection by itself.
fn is_closed(client: &mut Client) -> bool {
    let mut rest = [0; 64];
    loop {
        match client.stream.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// Headers that announce more than the limit, and fragments without end.
fn bombs(gateway: &Gateway) -> u64 {
    let limit = 2_u32 << 20;
    for header in
        [u32::MAX, 0x7fff_ffff, 0x8000_0000 | (limit + 1), limit + 1, 0x8000_0000, 0xc000_0000]
    {
        for _ in 0..8 {
            let mut client = gateway.client();
            client.stream.write_all(&header.to_be_bytes()).unwrap();
            assert!(is_closed(&mut client), "a header of {header:#x} is waited for");
        }
    }
    for _ in 0..4 {
        let mut client = gateway.client();
        let fragments = [0_u8; 4 * 1000];
        // It may be closed before all is sent.
        let _ = client.stream.write_all(&fragments);
        assert!(is_closed(&mut client), "empty fragments are taken without end");
    }
    6 * 8 + 4
}

/// A record of the longest length is read, and answered as garbage.
fn longest_record(gateway: &Gateway) {
    let mut client = gateway.client();
    let longest = vec![0_u8; 2 << 20];
    let header = 0x8000_0000 | u32::try_from(longest.len()).unwrap();
    client.stream.write_all(&header.to_be_bytes()).unwrap();
    client.stream.write_all(&longest).unwrap();
    let root = gateway.client().root();
    // Noise is not answered; the connection may end, the service may not.
    assert!(gateway.client().works(&root));
}

fn forged(gateway: &Gateway, root: &[u8], cases: u32) -> u64 {
    let mut client = gateway.client();
    let mut seed = 7;
    let mut refused = 0;
    for batch in 0..cases / 32 {
        let mut bytes = Vec::new();
        for number in 0..32_u32 {
            let mut handle = root.to_vec();
            match number % 3 {
                0 => {
                    let bit = usize::try_from(batch * 32 + number).unwrap() % (handle.len() * 8);
                    handle[bit / 8] ^= 1 << (bit % 8);
                }
                1 => handle = random_bytes(&mut seed, root.len()),
                _ => {
                    let length = usize::try_from(random(&mut seed) % 64).unwrap();
                    handle = random_bytes(&mut seed, length);
                }
            }
            // GETATTR, ACCESS, READ, READDIR begin with the handle; so does all that changes.
            let procedure = [1, 4, 6, 16][usize::try_from(number % 4).unwrap()];
            let mut arguments = opaque(&handle);
            arguments.extend_from_slice(&[0; 32]);
            bytes.extend(client.call_bytes(NFS, procedure, &arguments));
        }
        client.stream.write_all(&bytes).unwrap();
        for _ in 0..32 {
            let reply = client.reply().unwrap();
            assert_eq!(status(crate::rpc::result(&reply)), BADHANDLE, "{reply:?}");
            refused += 1;
        }
    }
    refused
}

/// The same call again and again is done once: CREATE of a new name, guarded.
fn replays(gateway: &Gateway, cases: u32) -> u64 {
    let mut client = gateway.client();
    let root = client.root();
    let mut directory = root;
    for name in ["acme", "shop"] {
        let answer = client.call(NFS, 3, &[opaque(&directory), opaque(name.as_bytes())].concat());
        let answer = answer.unwrap();
        assert_eq!(status(&answer), 0);
        directory = answer[8..8 + 33].to_vec();
    }
    let mut arguments = [opaque(&directory), opaque(b".replayed.swp")].concat();
    // GUARDED, no attributes set.
    for value in [1_u32, 0, 0, 0, 0, 0, 0] {
        arguments.extend_from_slice(&value.to_be_bytes());
    }
    let call = Client::bytes_of(0x00ab_cdef, NFS, 8, &arguments);
    let mut first = None;
    for _ in 0..cases {
        client.stream.write_all(&call).unwrap();
        let reply = client.reply().unwrap();
        assert_eq!(status(crate::rpc::result(&reply)), 0, "a replay was carried out");
        assert_eq!(*first.get_or_insert_with(|| reply.clone()), reply);
    }
    // Asked for by another call it is there already.
    let again = client.call(NFS, 8, &arguments).unwrap();
    assert_eq!(status(&again), 17, "EXIST");
    u64::from(cases)
}

/// Any procedure with any arguments is answered.
fn random_calls(gateway: &Gateway, root: &[u8], cases: u32) -> u64 {
    let mut seed = 99;
    let mut client = gateway.client();
    for _ in 0..cases / 16 {
        let mut bytes = Vec::new();
        for _ in 0..16 {
            let procedure = u32::try_from(random(&mut seed) % 24).unwrap();
            let length = usize::try_from(random(&mut seed) % 200).unwrap();
            let mut arguments =
                if random(&mut seed).is_multiple_of(2) { opaque(root) } else { Vec::new() };
            arguments.extend(random_bytes(&mut seed, length));
            let program = if random(&mut seed).is_multiple_of(8) { MOUNT } else { NFS };
            bytes.extend(client.call_bytes(program, procedure, &arguments));
        }
        client.stream.write_all(&bytes).unwrap();
        for _ in 0..16 {
            client.reply().expect("each call is answered");
        }
    }
    u64::from(cases)
}

/// More connections than there are seats; those who have one are served.
fn crowd(gateway: &Gateway, root: &[u8], wanted: u32) -> (u64, u64) {
    let mut seated = gateway.client();
    assert!(seated.works(root));
    let mut held = Vec::new();
    let mut asked = 0;
    for number in 0..wanted {
        let host = u8::try_from(2 + number % 40).unwrap();
        if let Ok(client) = gateway.client_from(host) {
            asked += 1;
            held.push(client);
        }
    }
    assert!(seated.works(root), "who has a seat is not served");
    // A seat is open if the peer did not hang up.
    let mut open = 0_u64;
    for client in &mut held {
        client.stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let mut byte = [0];
        let waits = matches!(
            client.stream.read(&mut byte),
            Err(error) if matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            )
        );
        open += u64::from(waits);
    }
    assert!(open <= 256, "{open} connections are open");
    assert!(open >= 100, "only {open} of {asked} got a seat");
    assert!(seated.works(root), "who has a seat is not served");
    drop(held);
    (asked, open)
}

#[test]
fn a_hostile_network_costs_little_and_is_not_believed() {
    let place = Place::new();
    let gateway = place.serve(&["--set", "limits.slow_record=3s"]);
    let root = gateway.client().root();
    assert!(gateway.client().works(&root));
    let before = gateway.memory("VmRSS:");
    let long = std::env::var_os("MOUNTABLE_LONG").is_some();
    let times = if long { 50 } else { 1 };
    // Slow senders are there all the while; each has begun a long record.
    let mut slow = Vec::new();
    for host in 100..104 {
        for _ in 0..8 {
            let mut client = gateway.client_from(host).unwrap();
            client.stream.write_all(&(0x8000_0000 | (2_u32 << 20)).to_be_bytes()).unwrap();
            client.stream.write_all(&[1; 100]).unwrap();
            slow.push(client);
        }
    }
    assert!(gateway.client().works(&root), "slow senders hold the service up");
    let mut slow_ended = 0;
    for client in &mut slow {
        slow_ended += u32::from(is_closed(client));
    }
    assert_eq!(slow_ended, 32, "a slow record is waited for without end");
    let bombs = bombs(&gateway);
    longest_record(&gateway);
    let forged = forged(&gateway, &root, 20_000 * times);
    let replays = replays(&gateway, 2_000 * times);
    let calls = random_calls(&gateway, &root, 16_000 * times);
    let (asked, open) = crowd(&gateway, &root, 1_200);
    std::thread::sleep(Duration::from_millis(500));
    let mut after = gateway.client();
    assert!(after.works(&root), "the service does not go on");
    let peak = gateway.memory("VmHWM:");
    let rise = peak.saturating_sub(before);
    assert!(rise <= RISE_KIB_MAX, "memory rose from {before} to {peak} KiB");
    count(&format!(
        "hostile network: {bombs} header bombs, 32 slow senders, {forged} forged handles, \
         {replays} replays, {calls} random calls, {asked} connections of which {open} got a seat; \
         0 believed, memory rose by {} MiB at most",
        rise >> 10
    ));
}

#[test]
fn others_are_not_let_in_without_rules() {
    let place = Place::new();
    let lake = place.path("lake");
    let lake = lake.to_str().unwrap();
    assert!(place.run(&["init", lake]).status.success());
    for address in ["0.0.0.0:0", "[::]:0"] {
        let done = place.run(&["--lake", lake, "serve", "--nfs", address]);
        assert_eq!(done.status.code(), Some(2), "{address}: {done:?}");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains("exports"), "{said}");
    }
}

#[test]
fn what_the_gateway_keeps_is_for_its_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let state = place.path("own-state");
    let gateway = place.serve(&["--state", state.to_str().unwrap()]);
    replays(&gateway, 1);
    let mut found = vec![state.clone()];
    crate::rpc::files_below(&state, &mut found);
    assert!(found.len() > 4, "{found:?}");
    let open: Vec<_> = found
        .iter()
        .filter(|path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o077 != 0)
        .collect();
    assert!(open.is_empty(), "others may look at {open:?}");
}
