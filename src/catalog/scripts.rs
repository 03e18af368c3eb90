//! The Lua texts that Redis runs, each atomic.
//!
//! None of them passes a document through Lua's JSON, which would round numbers and turn empty
//! lists into objects (format spec section 0.5). The swap is not fenced by the table's lock:
//! the commit point is an object, and a lock that is lost after it must not turn a durable commit
//! into an error (commit-protocol.md section 3).

/// Appends audit events. Reads from `ARGV[at]` on: number of events, then for each the number of
/// its values followed by names and values.
macro_rules! audit_function {
    () => {
        r"
local function audit(stream, at)
  local events = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, events do
    local count = tonumber(ARGV[at])
    if count > 0 then
      redis.call('XADD', stream, 'MAXLEN', '~', '100000', '*', unpack(ARGV, at + 1, at + count))
    end
    at = at + count + 1
  end
end
"
    };
}

/// `ARGV`: as the function `audit` reads it. `KEYS`: stream.
pub(super) const AUDIT: &str = concat!(audit_function!(), "audit(KEYS[1], 1)\nreturn 1\n");

/// One step of a SCAN together with the values of the keys that it finds.
///
/// `ARGV`: cursor, pattern, keys to look at. Returns the next cursor, the keys, and for each its
/// text or nothing. The keys are found by the script itself, so none is declared; Redis Cluster,
/// which wants that, is refused when connecting.
pub(super) const LEAVES: &str = r"
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local keys, values = page[2], {}
for first = 1, #keys, 1000 do
  local last = math.min(first + 999, #keys)
  local some = redis.call('MGET', unpack(keys, first, last))
  for i = 1, last - first + 1 do values[first + i - 1] = some[i] end
end
return {page[1], keys, values}
";

/// Compares and swaps a leaf.
///
/// `KEYS`: leaf, root, schema, table names, lock, row ids, audit stream, and if the swap requires
/// or removes something, their keys. `ARGV`: 1/0 whether a leaf is expected, it, 1/0 whether there is a new leaf,
/// it, 1/0 whether there is a schema, it, time in ms, 1/0 whether the root is raised, table name,
/// field of the hash that is required or nothing, token of a lock that is released with it or
/// nothing, which of the keys is required (0: none), which one is removed (0: none), field of the
/// hash that is removed or nothing, audit events. Returns `{'OK', root version}`, `{'MOVED'}` or `{'MOVED', current leaf}`.
///
/// The leaf is written last: if something else has a wrong type, nothing that counts has changed.
pub(super) const SWAP: &str = concat!(
    audit_function!(),
    r#"
local function member(doc, name)
  local i, depth, n = 1, 0, #doc
  while i <= n do
    local c = string.byte(doc, i)
    if c == 34 then
      local j = i + 1
      while j <= n do
        local d = string.byte(doc, j)
        if d == 34 then break elseif d == 92 then j = j + 2 else j = j + 1 end
      end
      if depth == 1 and string.sub(doc, i + 1, j - 1) == name then
        local _, e = string.find(doc, '^%s*:%s*', j + 1)
        if e then return e + 1 end
      end
      i = j
    elseif c == 123 or c == 91 then
      depth = depth + 1
    elseif (c == 125 or c == 93) and depth > 0 then
      depth = depth - 1
    end
    i = i + 1
  end
end
local function number(doc, name)
  local at = member(doc, name)
  if at then return string.find(doc, '^[%d%.eE+%-]+', at) end
end
local function whole(text)
  local value = tonumber(text)
  if value and value >= 0 and value < 9007199254740992 and value % 1 == 0 then return value end
end
local function put(doc, name, text)
  local s, e = number(doc, name)
  if s then return string.sub(doc, 1, s - 1) .. text .. string.sub(doc, e + 1) end
  if member(doc, name) then return doc end
  local open = string.find(doc, '{', 1, true)
  local rest = string.sub(doc, open + 1)
  local comma = string.find(rest, '^%s*}') and '' or ','
  return string.sub(doc, 1, open) .. '"' .. name .. '":' .. text .. comma .. rest
end
local function raised(doc, now)
  if not doc or not string.find(doc, '^%s*{') then
    return '{"version":0,"ts":' .. now .. '}', '0'
  end
  local s, e = number(doc, 'version')
  local old = s and whole(string.sub(doc, s, e))
  local next = old and string.format('%.0f', old + 1) or '0'
  return put(put(doc, 'version', next), 'ts', now), next
end
local current = redis.call('GET', KEYS[1])
local expected = ARGV[1] == '1' and ARGV[2] or false
local there, required, removed = 1, KEYS[tonumber(ARGV[12])], KEYS[tonumber(ARGV[13])]
if required and ARGV[10] == '' then there = redis.call('EXISTS', required)
elseif required then there = redis.call('HEXISTS', required, ARGV[10]) end
if current ~= expected or there == 0 then
  if current then return {'MOVED', current} end
  return {'MOVED'}
end
local root = redis.call('GET', KEYS[2])
local version
if root and ARGV[8] ~= '1' then
  local s, e = number(root, 'version')
  local value = s and whole(string.sub(root, s, e))
  version = value and string.format('%.0f', value) or '0'
else
  local new
  new, version = raised(root, ARGV[7])
  redis.call('SET', KEYS[2], new)
end
audit(KEYS[7], 15)
if ARGV[3] == '1' then
  redis.call('SADD', KEYS[4], ARGV[9])
  if ARGV[5] == '1' then redis.call('SET', KEYS[3], ARGV[6]) end
  redis.call('SET', KEYS[1], ARGV[4])
else
  redis.call('SREM', KEYS[4], ARGV[9])
  redis.call('DEL', KEYS[1], KEYS[3], KEYS[5], KEYS[6])
end
if removed and ARGV[14] == '' then redis.call('DEL', removed)
elseif removed then redis.call('HDEL', removed, ARGV[14]) end
if ARGV[11] ~= '' and redis.call('GET', KEYS[5]) == ARGV[11] then redis.call('DEL', KEYS[5]) end
return {'OK', version}
"#
);

/// Takes a lock that is free or held by the same token. `KEYS`: lock, root. `ARGV`: token, ms, 1/0
/// whether a root with flags is answered instead.
pub(super) const ACQUIRE: &str = r"
local root = ARGV[3] == '1' and redis.call('GET', KEYS[2])
if root and (string.find(root, 'read_only', 1, true) or string.find(root, 'clone_type', 1, true))
then return root end
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
";

/// Extends a lock. `KEYS`: lock. `ARGV`: token, ms.
pub(super) const EXTEND: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
";

/// Releases a lock. `KEYS`: lock. `ARGV`: token.
pub(super) const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
";

/// Reserves row ids above the counter and above a floor. `KEYS`: counter. `ARGV`: count, floor.
/// Returns the last reserved id as text (numbers of Lua hold 53 bits only), or nothing.
pub(super) const RESERVE: &str = r"
local old = redis.call('GET', KEYS[1]) or '0'
if not string.find(old, '^%d+$') then return false end
old = string.gsub(old, '^0+(%d)', '%1')
if #old < #ARGV[2] or (#old == #ARGV[2] and old < ARGV[2]) then
  redis.call('SET', KEYS[1], ARGV[2])
end
local answer = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(answer) == 'table' then return false end
return redis.call('GET', KEYS[1])
";

/// Replaces a value if it is as expected. `KEYS`: value. `ARGV`: expected, new.
pub(super) const REPLACE: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
";

/// Replaces a hash field if it is as expected. `KEYS`: hash. `ARGV`: field, expected, new.
pub(super) const REPLACE_FIELD: &str = r"
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
";

/// Appends to a list and keeps its newest entries. `KEYS`: list. `ARGV`: number kept, entries.
pub(super) const APPEND: &str = r"
for i = 2, #ARGV do redis.call('RPUSH', KEYS[1], ARGV[i]) end
local keep = tonumber(ARGV[1])
if keep == 0 then redis.call('DEL', KEYS[1]) else redis.call('LTRIM', KEYS[1], -keep, -1) end
return 1
";

/// Stores the root if there is none, and with it everything else. `KEYS`: root, then the key of
/// each entry. `ARGV`: root, then kind (`m` or `f`), field and value of each entry.
pub(super) const CREATE_SUPER: &str = r"
if not redis.call('SET', KEYS[1], ARGV[1], 'NX') then return 0 end
for i = 2, #KEYS do
  local at = 3 * i - 4
  local kind, field, value = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if kind == 'm' then redis.call('SADD', KEYS[i], value)
  else redis.call('HSET', KEYS[i], field, value) end
end
return 1
";

/// Puts elements at a place of a list, in place of what follows. Repeating it changes nothing.
/// `KEYS`: list. `ARGV`: number of elements before the place, elements.
pub(super) const RESTORE_LIST: &str = r"
local before = tonumber(ARGV[1])
if before == 0 then redis.call('DEL', KEYS[1]) else redis.call('LTRIM', KEYS[1], 0, before - 1) end
for i = 2, #ARGV do redis.call('RPUSH', KEYS[1], ARGV[i]) end
return 1
";

/// Adds events with their ids to a stream; those that are there already are left alone. `KEYS`:
/// stream. `ARGV`: number of events, then for each its id, the number of its values, names and
/// values.
pub(super) const RESTORE_STREAM: &str = r"
local at = 2
for _ = 1, tonumber(ARGV[1]) do
  local count = tonumber(ARGV[at + 1])
  if count > 0 then
    redis.pcall('XADD', KEYS[1], ARGV[at], unpack(ARGV, at + 2, at + 1 + count))
  end
  at = at + 2 + count
end
return 1
";
