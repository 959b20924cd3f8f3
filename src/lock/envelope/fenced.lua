local floor = tonumber(table.remove(ARGV))
local db, counter = table.remove(ARGV), table.remove(KEYS)
if db ~= '0' then redis.call('SELECT', '0') end
local fence = redis.call('GET', counter)
fence = fence and tonumber(fence)
if not fence then
  local out = {}
  for i = 1, #KEYS do out[i] = -2 end
  return out
end
if fence < floor then fence = floor end
-- Before any key is touched: who may not write it is refused with nothing done.
redis.call('SET', counter, string.format('%.0f', fence + #KEYS))
if db ~= '0' then redis.call('SELECT', db) end
