-- Gives each key that is permanent, and still has the value that was seen, a TTL of ARGV[1] ms.
-- ARGV[i + 1] is 's' and the value of a string, or 'o' for a key of another type.
local given = 0
for i, key in ipairs(KEYS) do
  local kind, seen = string.sub(ARGV[i + 1], 1, 1), string.sub(ARGV[i + 1], 2)
  local found = redis.call('TYPE', key).ok
  local same = found ~= 'string' and found ~= 'none'
  if kind == 's' then same = found == 'string' and redis.call('GET', key) == seen end
  if same and redis.call('PTTL', key) == -1 then
    given = given + redis.call('PEXPIRE', key, ARGV[1])
  end
end
return given
