-- What stands under a key that is no string, as `content.rs` has it, in any order; nothing where it is
-- too large or of a type that nobody locks with. `pcall`: Redis's own. In RESP3 some replies have
-- other shapes.
local function content(pcall, k, kind)
  local counts = {hash = 'HLEN', zset = 'ZCARD', set = 'SCARD', list = 'LLEN'}
  local count = counts[kind] and pcall(counts[kind], k)
  if type(count) ~= 'number' or count > 128 then return '' end
  -- Few elements may be large ones. Who may not ask for that is trusted with small ones.
  local memory = pcall('MEMORY', 'USAGE', k, 'SAMPLES', '0')
  if type(memory) == 'number' and memory > 65536 then return '' end
  local out, size = {kind == 'zset' and 'z' or string.sub(kind, 1, 1)}, 1
  local function put(part)
    part = #part .. ':' .. part
    size, out[#out + 1] = size + #part, part
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
    for name, value in pairs(r.map) do
      put(name)
      put(value)
    end
  elseif r.set then
    for name in pairs(r.set) do put(name) end
  else
    for i = 1, #r do
      local part = r[i]
      if type(part) == 'table' then
        put(part[1])
        part = string.format('%.17g', type(part[2]) == 'table' and part[2].double or part[2])
      end
      put(part)
    end
  end
  return size <= 4096 and table.concat(out) or ''
end
