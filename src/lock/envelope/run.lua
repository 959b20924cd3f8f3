-- The client's `redis`, and its script.

-- redis.pcall
local function run(...)
  local name, k = ...
  if type(name) ~= 'string' then return rpcall(...) end
  local st = S[k]
  if st then
    if name == 'get' or name == 'GET' then
      local r = rpcall(...)
      if type(r) == 'string' then
        st.c = r
        -- Only what ends like a time can be stamped.
        if string.byte(r, -3) ~= 58 then return r end
        if not view then values() end
        return view(st, r)
      end
      if not r then st.c = false end
      return r
    end
    local c = st.c
    if c and (name == 'del' or name == 'DEL') and select('#', ...) == 2 then
      local r = rpcall(...)
      if r == 1 then
        if st.b == nil then st.b = c end
        st.c, st.w, st.g = false, true, c == true
        if not st.d then
          st.d = true
          D[#D + 1] = st
        end
      end
      return r
    end
    if (name == 'exists' or name == 'EXISTS') then return rpcall(...) end
  end
  if not rest then make() end
  return rest(...)
end

-- redis.call. The error is raised from here, so the client's line is kept for the message. Lua
-- forgets the line of `return redis.call(...)`; TAIL has it where the text has only one.
local function call(...)
  local r = run(...)
  if type(r) == 'table' and r.err then
    local _, where = pcall(error, '', 3)
    line = string.match(where, ':(%d+): $') or TAIL
    if not real.REDIS_VERSION_NUM then r = r.err end
    error(r, 0)
  end
  return r
end

redis = setmetatable({call = call, pcall = run}, {__index = real, __newindex = real})
-- The text assigns to a field: that is Redis's error.
if STRICT then redis = setmetatable({}, {__index = redis, __newindex = real}) end
if G then
  local shadow = {redis = redis}
  _G = setmetatable({}, {__index = setmetatable(shadow, {__index = G}), __newindex = G})
  shadow._G = _G
end

-- The second one: where an error was raised, for servers without a handler of that name.
local ok, r = xpcall(client, rawget(G or _G, '__redis__err__handler') or function(e)
  local _, where = pcall(error, '', 3)
  if where == '' then _, where = pcall(error, '', 4) end
  if type(e) ~= 'table' then e = {err = 'ERR ' .. tostring(e)} end
  e.source, e.line = '@user_script', tonumber(string.match(where, ':(%d+): $'))
  return e
end)
if not ok then
  local sha = string.sub(head, 52, 91)
  if type(r) == 'table' then
    local message = string.match(r.err or 'ERR', '^%Z*')
    if r.source and r.line then
      local l = tonumber(r.line)
      if l > LINES then l = line end
      message = message .. ' script: ' .. sha .. ', on ' .. r.source .. (l and ':' .. l or '') .. '.'
    end
    r = {err = message, ignore_error_stats_update = r.ignore_error_stats_update}
  else
    r = {err = 'ERR Error running script (call to f_' .. sha .. '): ' .. tostring(r)}
  end
end
