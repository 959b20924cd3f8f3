-- What stands under a key that is no string, as `content.rs` has it, in any order; of a larger one its
-- digest, `!` of one that is too large for that, and nothing of what may not be read or is of a type that
-- nobody locks with. Also how many bytes and elements there are, where that is known. `pcall`: Redis's
-- own. In RESP3 some replies have other shapes.
local function content(pcall, k, kind)
  local counts = {hash = 'HLEN', zset = 'ZCARD', set = 'SCARD', list = 'LLEN'}
  local count = counts[kind] and pcall(counts[kind], k)
  if type(count) ~= 'number' then return '' end
  if count > 1024 then return '!' end
  -- Few elements may be large ones. Who may not ask for that is trusted with small ones.
  local memory = pcall('MEMORY', 'USAGE', k, 'SAMPLES', '0')
  if type(memory) == 'number' and memory > 1048576 then return '!' end
  local paired = kind == 'hash' or kind == 'zset'
  local letter, out, size = kind == 'zset' and 'z' or string.sub(kind, 1, 1), {}, 1
  -- A part, or a pair.
  local function put(part, second)
    part = #part .. ':' .. part
    if second then part = part .. #second .. ':' .. second end
    size, out[#out + 1] = size + #part, part
  end
  local function score(number)
    if type(number) == 'table' then number = number.double end
    return string.format('%.17g', tonumber(number) + 0)
  end
  local r
  if kind == 'hash' then
    r = pcall('HGETALL', k)
  elseif kind == 'zset' then
    r = pcall('ZRANGE', k, 0, -1, 'WITHSCORES')
  elseif kind == 'set' then
    r = pcall('SMEMBERS', k)
  else
    r = pcall('LRANGE', k, 0, -1)
  end
  if type(r) ~= 'table' or r.err then return '' end
  if r.map then
    for name, value in pairs(r.map) do put(name, value) end
  elseif r.set then
    for name in pairs(r.set) do put(name) end
  elseif type(r[1]) == 'table' then
    for i = 1, #r do put(r[i][1], score(r[i][2])) end
  else
    for i = 1, #r, paired and 2 or 1 do
      put(r[i], paired and (kind == 'zset' and score(r[i + 1]) or r[i + 1]))
    end
  end
  if size > 65536 then return '!' end
  if size <= 4096 and count <= 128 then return letter .. table.concat(out), size, count end
  -- Of each element a digest, so that all of them can be sorted alike by every server and in Rust.
  if kind ~= 'list' then
    for i = 1, #out do out[i] = redis.sha1hex(out[i]) end
    table.sort(out)
  end
  return '#' .. letter .. redis.sha1hex(letter .. table.concat(out)), size, count
end
