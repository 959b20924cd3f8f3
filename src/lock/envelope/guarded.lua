-- What is only for contents, made when the first one is met.
local stands, parts
local function others()
  if stands then return end
CONTENT
  -- The parts of a content.
  function parts(text)
    local out, at = {}, 2
    while at <= #text do
      local colon = string.find(text, ':', at, true)
      local length = tonumber(string.sub(text, at, colon - 1))
      out[#out + 1] = string.sub(text, colon + 1, colon + length)
      at = colon + length + 1
    end
    return out
  end

  local LETTERS = {hash = 'h', zset = 'z', set = 's', list = 'l'}

  -- Whether this content stands under the key.
  function stands(k, kind, text)
    local digest = string.sub(text, 1, 1) == '#'
    if LETTERS[kind] ~= string.sub(text, digest and 2 or 1, digest and 2 or 1) then return false end
    local there = content(redis.pcall, k, kind)
    if digest or there == '' or string.find(there, '^[#!]') then return digest and there == text end
    local one, other = parts(there), parts(text)
    if #one ~= #other then return false end
    if kind == 'list' then
      for i = 1, #one do
        if one[i] ~= other[i] then return false end
      end
      return true
    end
    local step, known = kind == 'set' and 1 or 2, {}
    for i = 1, #one, step do known[one[i]] = step == 1 or one[i + 1] end
    for i = 1, #other, step do
      local have, want = known[other[i]], step == 1 or other[i + 1]
      if have ~= want and not (kind == 'zset' and have and tonumber(have) == tonumber(want)) then return false end
    end
    return true
  end
end

WRITE
local out = {}
for i, k in ipairs(KEYS) do
  local kind, guard = string.sub(ARGV[i], 1, 1), string.sub(ARGV[i], 2)
  local ours, gone = false, false
  if kind == 's' then
    local value = redis.pcall('GET', k)
    -- Who may not read it is told so, not that it is another's.
    if type(value) == 'table' and string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
    ours, gone = value == guard, value == false
  elseif kind == 'o' then
    local found = redis.call('TYPE', k).ok
    gone = found == 'none'
    if not gone and found ~= 'string' then
      local at, text = string.match(guard, '^(%d+):(.*)$')
      ours = at ~= '0' and redis.pcall('PEXPIRETIME', k) == tonumber(at)
      if not ours then
        others()
        ours = stands(k, found, text)
      end
    end
  else
    -- Ours is what nothing stands in the way of.
    ours = redis.call('EXISTS', k) == 0
  end
  if ours then
    THEN
    out[i] = 1
  else
    out[i] = gone and -1 or 0
  end
end
return out
