-- A value for each key, then its TTL in ms or nothing. 1: set; 0: something stands there.
local out = {}
for i, k in ipairs(KEYS) do
  local value, ttl, done = ARGV[i], ARGV[#KEYS + i]
  if ttl == '' then
    done = redis.call('SET', k, value, 'NX')
  else
    done = redis.call('SET', k, value, 'NX', 'PX', ttl)
  end
  out[i] = done and 1 or 0
end
return out
