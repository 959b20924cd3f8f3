-- What a script finds in its Lua state, as Redis 7.0 has it. Runs once in each new state, before the
-- script, with the functions of `machine.rs` as its arguments; returns what runs a script, and the
-- table of globals. It keeps the library's own functions to itself: the ones that a script sees
-- let nothing catch the end of a script that is given up (`check`).

local native = ...
local raw = _G
local rawset, rawget, rawnext, rawpairs, rawpcall, rawxpcall = rawset, rawget, next, pairs, pcall, xpcall
local select, type, tonumber, tostring, error, loadstring = select, type, tonumber, tostring, error, loadstring
local rawsetmetatable, rawgetmetatable, concat, floor = setmetatable, getmetatable, table.concat, math.floor
local gsub, sub = string.gsub, string.sub
local check, place, charge, weigh = native.check, native.place, native.charge, native.weigh

local READONLY = 'Attempt to modify a readonly table'
local ABSENT = {
  cjson = true, cmsgpack = true, struct = true, newproxy = true,
}
local GLOBALS = {
  'xpcall', 'tostring', 'getfenv', 'assert', 'tonumber', 'rawequal', 'collectgarbage', 'pcall', 'type', 'select',
  'unpack', 'gcinfo', 'ipairs', '_VERSION', 'setfenv', 'error', 'string', 'table', 'math', 'coroutine',
}

local G = {_G = raw}
for i = 1, #GLOBALS do G[GLOBALS[i]] = raw[GLOBALS[i]] end
for name in rawpairs(raw) do raw[name] = nil end

-- Errors: what a native function raises is no Lua value yet. `check` makes it one, and raises again
-- what ends the script.

local function caught(ok, ...)
  if ok then return ok, ... end
  return false, check((...))
end

local function message(ok, ...)
  if ok then return ok, ... end
  local e = check((...))
  if type(e) == 'table' then
    local err = e.err
    if type(err) == 'string' or type(err) == 'number' then e = err end
  end
  return false, e
end

function G.pcall(...)
  return message(rawpcall(...))
end

function G.xpcall(f, handler)
  return caught(rawxpcall(f, function(e) return handler(check(e)) end))
end

local function handler(e)
  e = check(e)
  local source, line = place()
  if type(e) ~= 'table' then
    e = tostring(e)
    -- A bad argument to a function of this file is the script's.
    if source then e = gsub(e, '^lockside:%d+: ', sub(source, 2) .. ':' .. line .. ': ') end
    e = {err = 'ERR ' .. e}
  end
  if source then e.source, e.line = source, line end
  return e
end
G.__redis__err__handler = handler

-- Text alone: what is compiled already is not checked by Lua.
function G.loadstring(text, name)
  if type(text) == 'number' then text = tostring(text) end
  if type(text) ~= 'string' then return loadstring(text, name) end
  charge(#text * 4)
  if name == nil then name = text end
  if text:byte() == 27 then text = ' ' .. text end
  return loadstring(text, name)
end

function G.load(f, name)
  local parts = {}
  while true do
    local part = f()
    if part == nil or part == '' then break end
    if type(part) ~= 'string' then return nil, 'reader function must return a string' end
    parts[#parts + 1] = part
  end
  return G.loadstring(concat(parts), name or '=(load)')
end

-- Tables that a script can't write to.

local real = {}

local function readonly()
  error(READONLY, 2)
end

local function protect(t, proxy, names)
  local function absent(_, name)
    if type(name) ~= 'string' and type(name) ~= 'number' then
      error('Second argument to luaProtectedTableError must be a string or number', 2)
    end
    if ABSENT[name] then native.absent(name) end
    error("Script attempted to access nonexistent global variable '" .. name .. "'", 2)
  end
  if names then rawsetmetatable(t, {__index = absent}) end
  real[proxy] = t
  return rawsetmetatable(proxy, {__index = t, __newindex = readonly})
end

function G.next(t, k)
  return rawnext(real[t] or t, k)
end

function G.pairs(t)
  if t ~= nil and real[t] then return rawnext, real[t] end
  local pairs = rawpairs
  return pairs(t)
end

function G.rawget(t, k)
  return rawget(t ~= nil and real[t] or t, k)
end

function G.rawset(t, k, v)
  if t ~= nil and real[t] then error(READONLY, 0) end
  return rawset(t, k, v)
end

function G.setmetatable(t, m)
  if t ~= nil and real[t] then error(READONLY, 0) end
  local setmetatable = rawsetmetatable
  return setmetatable(t, m)
end

function G.getmetatable(o)
  if o ~= nil and real[o] then return nil end
  return rawgetmetatable(o)
end

-- Functions whose time has no bound in Lua's own count.

local string, table, math, coroutine = G.string, G.table, G.math, G.coroutine

local function weighed(name)
  local find = string[name]
  string[name] = function(s, pattern, ...)
    weigh(s, pattern)
    return find(s, pattern, ...)
  end
end
weighed('find')
weighed('match')
weighed('gmatch')
weighed('gsub')
string.gfind = string.gmatch

local sort = table.sort
function table.sort(t, ...)
  if type(t) == 'table' then charge(#t * 64) end
  return sort(t, ...)
end

local resume = coroutine.resume
function coroutine.resume(...)
  return caught(resume(...))
end

-- math.random, by Redis's own generator.

local function int(v, at, name)
  local n = tonumber(v)
  if not n or type(v) ~= 'number' and type(v) ~= 'string' then
    local given = v == nil and 'no value' or type(v)
    error("bad argument #" .. at .. " to '" .. name .. "' (number expected, got " .. given .. ')', 3)
  end
  return native.truncated(n)
end

function math.random(...)
  local n, r = select('#', ...), native.random()
  if n == 0 then return r end
  if n == 1 then
    local upper = int((...), 1, 'random')
    if upper < 1 then error("bad argument #1 to 'random' (interval is empty)", 2) end
    return floor(r * upper) + 1
  end
  if n > 2 then error('wrong number of arguments', 2) end
  local lower, upper = int((...), 1, 'random'), int((select(2, ...)), 2, 'random')
  if lower > upper then error("bad argument #2 to 'random' (interval is empty)", 2) end
  return floor(r * (upper - lower + 1)) + lower
end

function math.randomseed(seed)
  native.randomseed(int(seed, 1, 'randomseed'))
end

for _, name in rawnext, {'string', 'table', 'math', 'coroutine'} do G[name] = protect(G[name], {}) end
G.redis = protect(native.redis, {})
protect(G, raw, true)

return function(script) return rawxpcall(script, handler) end, G
