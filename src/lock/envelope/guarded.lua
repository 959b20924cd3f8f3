local out = {}
for i, k in ipairs(KEYS) do
  local kind, guard = string.sub(ARGV[i], 1, 1), string.sub(ARGV[i], 2)
  local ours, gone = false, false
  if kind == 's' then
    local value = redis.pcall('GET', k)
    -- Who may not read it is told so, not that it is another's.
    if type(value) == 'table' and string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
    ours, gone = value == guard, value == false
  else
    local found = redis.call('TYPE', k).ok
    gone = found == 'none'
    if not gone and found ~= 'string' then
      local at, sum = string.match(guard, '^(%d+):(.*)$')
      ours = at ~= '0' and redis.pcall('PEXPIRETIME', k) == tonumber(at)
      if not ours and sum ~= '' then
        local dump = redis.pcall('DUMP', k)
        ours = type(dump) == 'string' and redis.sha1hex(dump) == sum
      end
    end
  end
  if ours then
    THEN
    out[i] = 1
  else
    out[i] = gone and -1 or 0
  end
end
return out
