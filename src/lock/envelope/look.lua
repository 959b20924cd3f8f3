-- What stands under each key, as three elements: kind (n nothing, s string, o other), content (of a
-- string its bytes, of another what its guard is), TTL in ms (-1: none).

-- Longer strings are no locks, and content with more elements is not looked at: nothing here may
-- take longer than a moment, whatever stands under a key that only looks like a lock's.
local LONGEST, MOST = 8192, 64
local COUNTS = {hash = 'HLEN', zset = 'ZCARD', set = 'SCARD', list = 'LLEN'}

local function guard(k, kind)
  local at = redis.pcall('PEXPIRETIME', k)
  at = type(at) == 'number' and at > 0 and string.format('%.0f', at) or '0'
  local count = COUNTS[kind] and redis.pcall(COUNTS[kind], k)
  local dump = type(count) == 'number' and count <= MOST and redis.pcall('DUMP', k)
  return at .. ':' .. (type(dump) == 'string' and redis.sha1hex(dump) or '')
end

local out = {}
for _, k in ipairs(KEYS) do
  local found, kind, content = redis.call('TYPE', k).ok, 'o', ''
  if found == 'none' then
    kind = 'n'
  elseif found == 'string' and redis.call('STRLEN', k) <= LONGEST then
    content = redis.call('GET', k)
    kind = content and 's' or 'n'
  else
    content = guard(k, found)
  end
  out[#out + 1] = kind
  out[#out + 1] = content or ''
  out[#out + 1] = redis.call('PTTL', k)
end
return out
