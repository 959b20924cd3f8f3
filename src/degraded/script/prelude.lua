-- What a script finds in its Lua state, as Redis 7.0 has it. Runs once in each new state, before the
-- script, with the functions of `machine.rs` as its arguments; returns what runs a script, and the
-- table of globals. It keeps the library's own functions to itself: the ones that a script sees
-- let nothing catch the end of a script that is given up (`check`).

local native = ...
local raw = _G
local rawset, rawget, rawnext, rawpairs, rawpcall, rawxpcall = rawset, rawget, next, pairs, pcall, xpcall
local select, type, tonumber, tostring, error, loadstring = select, type, tonumber, tostring, error, loadstring
local rawsetmetatable, rawgetmetatable, concat, floor = setmetatable, getmetatable, table.concat, math.floor
local gsub, sub, byte = string.gsub, string.sub, string.byte
local check, place, charge, weigh, memory = native.check, native.place, native.charge, native.weigh, native.memory

local READONLY = 'Attempt to modify a readonly table'
local ABSENT = {
  cmsgpack = true, struct = true,
}
local GLOBALS = {
  'tostring', 'assert', 'tonumber', 'rawequal', 'collectgarbage', 'type', 'select', 'unpack', 'gcinfo', 'ipairs',
  '_VERSION', 'error', 'string', 'table', 'math', 'coroutine',
}

local G = {_G = raw}
for i = 1, #GLOBALS do G[GLOBALS[i]] = raw[GLOBALS[i]] end
for name in rawpairs(raw) do raw[name] = nil end
-- A collection costs more than the step that it counts for; memory has its own limit.
G.collectgarbage = function() return 0 end

-- Errors: what a native function raises is no Lua value yet. `check` makes it one, and raises again
-- what ends the script.

-- A bad argument to a function of this file: whose line it was is not known any more.
local function unplaced(e)
  if type(e) == 'string' then e = gsub(e, '^lockside:%d+: ', '') end
  return e
end

local function caught(ok, ...)
  if ok then return ok, ... end
  return false, unplaced(check((...)))
end

local function message(ok, ...)
  if ok then return ok, ... end
  local e = unplaced(check((...)))
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
    local where = source and sub(source, 2) .. ':' .. line .. ': ' or ''
    e = gsub(e, '^lockside:%d+: ', where)
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
  if byte(text) == 27 then text = ' ' .. text end
  return loadstring(text, name)
end

function G.load(f, name)
  local parts = {}
  while true do
    local part = f()
    if part == nil or part == '' then break end
    if type(part) ~= 'string' then return nil, 'reader function must return a string' end
    parts[#parts + 1] = part
    if byte(parts[1]) == 27 then break end
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

-- What getmetatable shows of strings.
local texts = {}

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
  if type(o) == 'string' then return texts end
  return rawgetmetatable(o)
end

-- Functions whose time has no bound in Lua's own count.

local string, table, math, coroutine = G.string, G.table, G.math, G.coroutine

-- Each under its own name, which Lua takes into errors. Bytes are charged where a function goes over
-- them: before the call where its arguments tell how many, else behind it, once.
local CALL, BYTES = 30, 16
local function size(v)
  return type(v) == 'string' and #v or CALL
end
local find, match, gmatch = string.find, string.match, string.gmatch
function string.find(...)
  weigh(...)
  return find(...)
end
function string.match(...)
  weigh(...)
  return match(...)
end
function string.gmatch(...)
  local s, pattern = ...
  -- Here it is no anchor.
  if type(pattern) == 'string' and byte(pattern) == 94 then weigh(s, '.' .. pattern) else weigh(...) end
  return gmatch(...)
end
function string.gsub(...)
  weigh(...)
  local text, count = gsub(...)
  charge(#text / BYTES)
  return text, count
end
string.gfind = string.gmatch

local rep, lower, upper, reverse, sub = string.rep, string.lower, string.upper, string.reverse, string.sub
local char, format, dump = string.char, string.format, string.dump
function string.rep(...)
  local s, n = ...
  -- As C cuts it to an int.
  n = (tonumber(n) or 0) % 4294967296
  if n >= 2147483648 then n = 0 end
  local steps = n * (1 + size(s) / BYTES)
  -- What passes the bound for memory ends there, by itself.
  if s ~= '' and steps > 600000 then steps = 600000 end
  charge(CALL + steps)
  return rep(...)
end
function string.lower(...)
  charge(CALL + size(...) / BYTES)
  return lower(...)
end
function string.upper(...)
  charge(CALL + size(...) / BYTES)
  return upper(...)
end
function string.reverse(...)
  charge(CALL + size(...) / BYTES)
  return reverse(...)
end
function string.sub(...)
  local text = sub(...)
  charge(CALL + #text / BYTES)
  return text
end
function string.byte(...)
  if select('#', ...) > 2 then charge(CALL + size(...)) end
  return byte(...)
end
function string.char(...)
  charge(CALL + select('#', ...))
  return char(...)
end
function string.format(...)
  local n = CALL
  for i = 1, select('#', ...) do
    local value = select(i, ...)
    n = n + CALL + size(value) / BYTES
    -- Hundreds of digits.
    if type(value) == 'number' and (value > 1e17 or value < -1e17) then n = n + 500 end
  end
  charge(n)
  return format(...)
end
function string.dump(...)
  local text = dump(...)
  charge(CALL + #text)
  return text
end

local sort = table.sort
function table.sort(...)
  local t = ...
  -- Texts are compared as long as they are the same.
  if type(t) == 'table' then charge(#t * 64 + memory() / BYTES) end
  return sort(...)
end
local concat = table.concat
function table.concat(...)
  local t = ...
  if type(t) == 'table' then charge(CALL + #t) end
  local text = concat(...)
  charge(#text / BYTES)
  return text
end
local maxn, foreach, foreachi = table.maxn, table.foreach, table.foreachi
function table.maxn(...)
  charge(CALL + memory() / BYTES)
  return maxn(...)
end
function table.foreach(...)
  charge(CALL + memory() / BYTES)
  return foreach(...)
end
function table.foreachi(...)
  charge(CALL + memory() / BYTES)
  return foreachi(...)
end

-- What moves elements has a charge for them.
local function move(t, ...)
  if type(t) ~= 'table' then return end
  if real[t] then error(READONLY, 0) end
  local n = #t
  if n > 64 and select('#', ...) > 0 then charge(n) end
end
local insert, remove = table.insert, table.remove
function table.insert(...)
  move(...)
  return insert(...)
end
function table.remove(...)
  move(...)
  return remove(...)
end

local resume = coroutine.resume
function coroutine.resume(...)
  return caught(resume(...))
end

-- math.random, by Redis's own generator.

local function number(v, at, name, given)
  local n = (type(v) == 'number' or type(v) == 'string') and tonumber(v)
  if n then return n end
  given = at <= given and type(v) or 'no value'
  error("bad argument #" .. at .. " to '" .. name .. "' (number expected, got " .. given .. ')', 3)
end

local truncated = native.truncated

function math.random(...)
  local n, r = select('#', ...), native.random()
  if n == 0 then return r end
  if n == 1 then
    local upper = truncated(number((...), 1, 'random', n))
    if upper < 1 then error("bad argument #1 to 'random' (interval is empty)", 2) end
    return floor(r * upper) + 1
  end
  if n > 2 then error('wrong number of arguments', 2) end
  local lower = truncated(number((...), 1, 'random', n))
  local upper = truncated(number((select(2, ...)), 2, 'random', n))
  if lower > upper then error("bad argument #2 to 'random' (interval is empty)", 2) end
  return floor(r * (upper - lower + 1)) + lower
end

function math.randomseed(...)
  native.randomseed(truncated(number((...), 1, 'randomseed', select('#', ...))))
end

-- bit

G.bit = {}
for name, least in rawpairs(native.operands) do
  local operate = native.bit[name]
  G.bit[name] = function(...)
    local n = select('#', ...)
    charge(CALL + n)
    for i = 1, n > least and n or least do number((select(i, ...)), i, name, n) end
    return operate(...)
  end
end

-- cjson, as far as it is there.

G.cjson = rawsetmetatable({
  null = native.null,
  encode = native.encode,
  decode = native.decode,
}, {__index = function(_, name) native.absent('cjson.' .. tostring(name)) end})

for _, name in rawnext, {'string', 'table', 'math', 'coroutine', 'bit', 'cjson'} do G[name] = protect(G[name], {}) end
G.redis = protect(native.redis, {})
rawgetmetatable('').__index = G.string
protect(rawgetmetatable(''), texts)
protect(G, raw, true)

return function(script) return rawxpcall(script, handler) end, G
