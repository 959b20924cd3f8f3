-- The grammar of values, as `value.rs` has it.

-- Makes `view`; gives what the rest needs of the grammar of values.
local function values()
  local sub, find, match, byte = string.sub, string.find, string.match, string.byte
  local HEX = '[0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
  local TIME = '%d%d%-%d%d%-%d%d%d%d %d%d:%d%d:%d%d$'

  local function utf8(s)
    local i = 1
    while true do
      i = string.find(s, '[\128-\255]', i)
      if not i then return true end
      local a, b, c, d = string.byte(s, i, i + 3)
      if not b or b < 128 or b > 191 or a < 194 or a > 244 then return false end
      if a < 224 then
        i = i + 2
      else
        if not c or c < 128 or c > 191 then return false end
        if a < 240 then
          if a == 224 and b < 160 or a == 237 and b > 159 then return false end
          i = i + 3
        else
          if not d or d < 128 or d > 191 or a == 240 and b < 144 or a == 244 and b > 143 then return false end
          i = i + 4
        end
      end
    end
  end

  -- `value::is_token`
  local function token(v)
    if #v < 16 then return false end
    if find(v, '^[%w+/]*=?=?$') and find(v, '%d') then return true end
    if #v == 36 and find(v, '^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$') then return true end
    return not utf8(v)
  end

  -- `value::strip`; for the form of the original service with another token, also its `a:b`.
  local function strip(c, mode)
    if byte(c, -3) ~= 58 or byte(c, -6) ~= 58 then return c end
    if mode ~= 'n' and find(c, '^:~' .. HEX .. HEX .. HEX .. HEX .. ':' .. TIME, -38) then return sub(c, 1, -39) end
    local pair, b = match(c, '^([^:]+:([^:]+)):' .. TIME)
    if pair and utf8(pair) then
      if mode ~= 'n' and token(b) then return pair end
      return c, pair
    end
    return c
  end

  -- `value::stamp`
  local function stamp(v, mode)
    if mode == 'n' then return v end
    if strip(v, mode) == v then
      local b = match(v, '^[^:]+:([^:]+)$')
      if b and utf8(v) and token(b) then return v .. ':' .. sub(head, 33, 51) end
      if mode == 'a' and token(v) then return v end
    end
    return v .. ':~' .. sub(head, 17, 32) .. ':' .. sub(head, 33, 51)
  end

  local function presented(v)
    for i = 1, #argv do
      if argv[i] == v then return true end
    end
  end

  -- What the client sees for the stored value c: the form that its arguments present, else the
  -- client value.
  function view(st, c)
    if st.sc == c then return st.s end
    local s, pair = strip(c, st.m)
    if s ~= c then
      if presented(c) then s = c end
    elseif pair and presented(pair) then
      s = pair
    end
    st.sc, st.s = c, s
    return s
  end


  return strip, stamp, presented
end
