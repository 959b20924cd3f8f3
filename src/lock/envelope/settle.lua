-- After the client's script.

if not D[1] then return r end

-- What the script did to its lock keys, for Lockside to make good before the client is answered:
-- kind, key, database, fresh, TTL, length of the guard, guard.
local meta, gone = {}
-- What a script took before it failed is nobody's: nobody is told of it. With a TTL of the client's
-- own it runs out, as in Redis.
local failed = type(r) == 'table' and r.err
for i = 1, #D do
  local st = D[i]
  if st.db ~= db then
    db = st.db
    rpcall('SELECT', db)
  end
  local k, b, c = st.k, st.b, st.c
  if c == nil then c = look(st) end
  local pttl = c and rpcall('PTTL', k)
  if pttl == -2 then c = false end
  local fresh = c and (c ~= b or st.g)
  local after = c == true and contents(k)
  -- The same hold has another content now.
  if after and not fresh and st.x and after ~= st.x then
    local x, to = 'o0:' .. st.x, 'o0:' .. after
    meta[#meta + 1] = 'x' .. st.i .. ' ' .. db .. ' 0 -1 ' .. #x .. ' ' .. x
    meta[#meta + 1] = 'c' .. st.i .. ' ' .. db .. ' 0 -1 ' .. #to .. ' ' .. to
  end
  if b and (not c or fresh) then
    gone = true
    local guard = b == true and 'o' or 's' .. b
    meta[#meta + 1] = 'r' .. st.i .. ' ' .. db .. ' 0 -1 ' .. #guard .. ' ' .. guard
  end
  local left = failed and fresh and not b and type(pttl) == 'number' and pttl >= 0
  if c and not left and (fresh or not st.p or pttl ~= -1) then
    -- A lock that is left gets the TTL of its rule.
    local safety, default = string.match(st.t, '^(%d+) %-?%d+ (%d+)$', 11)
    if st.p then
      rpcall('PEXPIRE', k, safety)
    elseif pttl == -1 then
      rpcall('PEXPIRE', k, default)
    end
    local guard
    if after then
      local at = rpcall('PEXPIRETIME', k)
      guard = 'o' .. (type(at) == 'number' and string.format('%.0f', at) or '0') .. ':' .. after
    else
      guard = 's' .. c
    end
    pttl = type(pttl) == 'number' and pttl >= 0 and string.format('%.0f', pttl) or '-1'
    meta[#meta + 1] = 't' .. st.i .. ' ' .. db .. (fresh and ' 1 ' or ' 0 ') .. pttl .. ' ' .. #guard .. ' ' .. guard
  end
end
if not meta[1] then return r end
-- Where Redis gives fences: no grant of what was released has a higher one, and each later grant has.
if gone and counter then
  if db ~= '0' then rpcall('SELECT', '0') end
  local fence = rpcall('GET', counter)
  fence = type(fence) == 'string' and tonumber(fence)
  if fence and fence > 0 then meta[#meta + 1] = 'f' .. string.format('%.0f', fence) .. ' 0 0 -1 1 o' end
end
return {string.sub(head, 1, 16), table.concat(meta), r}
