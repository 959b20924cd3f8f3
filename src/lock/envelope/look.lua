-- What stands under each key, as three elements: kind (n nothing, s string, o other), content (of a
-- string its bytes, of another what its guard is), TTL in ms (-1: none). Of the first keys alone, at
-- least of one, where more would take too long.

-- Longer strings are no locks: nothing here may take longer than a moment, whatever stands under a
-- key that only looks like a lock's.
local LONGEST = 8192
-- So many elements are looked at in about ten milliseconds, then others are served.
local MOST, looked = 4096, 0

local function guard(k, kind)
  local at = redis.pcall('PEXPIRETIME', k)
  at = type(at) == 'number' and at > 0 and string.format('%.0f', at) or '0'
  local all, _, count = content(redis.pcall, k, kind)
  looked = looked + (count or 0)
  return at .. ':' .. all
end

local out = {}
for _, k in ipairs(KEYS) do
  if looked > MOST then break end
  local found, kind, held = redis.call('TYPE', k).ok, 'o', ''
  if found == 'none' then
    kind = 'n'
  elseif found == 'string' and redis.call('STRLEN', k) <= LONGEST then
    held = redis.call('GET', k)
    kind = held and 's' or 'n'
  else
    held = guard(k, found)
  end
  out[#out + 1] = kind
  out[#out + 1] = held or ''
  out[#out + 1] = redis.call('PTTL', k)
end
return out
