-- Writes what stands behind a letter: s a string, o a content behind a time. Nothing may stand there.
local function write(k, text, ttl)
  if string.sub(text, 1, 1) == 's' then
    if ttl == '' then
      redis.call('SET', k, string.sub(text, 2))
    else
      redis.call('SET', k, string.sub(text, 2), 'PX', ttl)
    end
    return
  end
  others()
  local text = string.match(text, '^o%d*:(.*)$')
  local kind, all = string.sub(text, 1, 1), parts(text)
  for i = 1, #all, (kind == 'h' or kind == 'z') and 2 or 1 do
    if kind == 'h' then
      redis.call('HSET', k, all[i], all[i + 1])
    elseif kind == 'z' then
      redis.call('ZADD', k, all[i + 1], all[i])
    elseif kind == 's' then
      redis.call('SADD', k, all[i])
    else
      redis.call('RPUSH', k, all[i])
    end
  end
  if ttl ~= '' then redis.call('PEXPIRE', k, ttl) end
end
