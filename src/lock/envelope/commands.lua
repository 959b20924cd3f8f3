-- What each command means on a lock key.

-- Makes everything but the shortest way; what is only for writing is made in a second step.
local function make()
  local strip, stamp, presented = values()
  local sub, lower, find, match, byte = string.sub, string.lower, string.find, string.match, string.byte
  local type, tonumber, unpack = type, tonumber, unpack
  local other, second

  local function text(v)
    if type(v) == 'number' then return string.format('%.17g', v) end
    return v
  end

CONTENT
  function contents(k)
    return content(rpcall, k, rpcall('TYPE', k).ok)
  end

  -- The content, and notes how large it is: y bytes, e elements. What may not be read is not measured.
  local function measure(st)
    local all, size, count = content(rpcall, st.k, rpcall('TYPE', st.k).ok)
    local none = all == '!' and math.huge or 0
    st.y, st.e = size or none, count or none
    return all
  end

  -- What stands there. TYPE before GET: a GET on another type is an error that INFO counts.
  function look(st)
    local c = st.c
    if c == nil then
      local t = rpcall('TYPE', st.k).ok
      if t == 'none' then
        c = false
      elseif t == 'string' or not t then
        c = rpcall('GET', st.k) or false
        if type(c) == 'table' then c = true end
      else
        c = true
      end
      st.c = c
    end
    return c
  end

  local function touch(st)
    local c = look(st)
    if st.b == nil then
      st.b = c
      if c == true then st.x = measure(st) end
    end
    return c
  end

  local function mark(st, c)
    if c == false and st.b == true then st.g = true end
    if st.b == false or c == false then st.w = true end
    st.c = c
    if not st.d then
      st.d = true
      D[#D + 1] = st
    end
  end

  -- A term of the rule: 1 safety TTL, 2 virtual TTL, 3 default TTL, in ms.
  local function term(st, which)
    local safety, virtual, default = match(st.t, '^(%d+) (%-?%d+) (%d+)$', 11)
    return tonumber(which == 1 and safety or which == 2 and virtual or default)
  end

  local function now()
    local t = rpcall('TIME')
    return t[1] * 1000 + math.floor(t[2] / 1000)
  end

  -- An integer that Redis takes for one and Lua holds exactly; anything else is left to Redis.
  local function int(v)
    v = text(v)
    if type(v) == 'string' and #v < 15 and (v == '0' or find(v, '^%-?[1-9]%d*$')) then return tonumber(v) end
  end

  -- Whether a held lock is left as it is by a TTL of its client.
  local function virtual(st)
    return st.p and not st.w and not RO
  end

  -- More time is asked for. Nothing to write for a key without TTL. One with a TTL was taken behind
  -- Lockside, or its acquire is under way: its holder makes it a lock; for anyone else it runs out,
  -- but not sooner than is told.
  local function renew(st, ms)
    st.v = ms
    local left = rpcall('PTTL', st.k)
    if left == -1 then return end
    if type(st.c) == 'string' and presented(view(st, st.c)) then
      touch(st)
      mark(st, st.c)
    elseif type(left) == 'number' and left >= 0 and ms > left then
      rpcall('PEXPIRE', st.k, string.format('%.0f', ms))
    end
  end

  local function failed(r)
    return type(r) == 'table' and r.err
  end

  local function ttl(st, cmd)
    local v = st.v or term(st, 2)
    if v < 0 then return -1 end
    if find(cmd, 'time', 1, true) then v = v + now() end
    if byte(cmd) == 112 then return v end
    return math.floor((v + 500) / 1000)
  end

  -- EXPIRE and its kin on a held lock, by the virtual TTL; nil if Redis is to judge.
  local function expire(st, cmd, name, a, n)
    local ms, o = int(a[2]), {}
    if not ms then return end
    for i = 3, n do
      local w = a[i]
      w = type(w) == 'string' and lower(w)
      if not (w == 'nx' or w == 'xx' or w == 'gt' or w == 'lt') then return end
      o[w] = true
    end
    if o.nx and (o.xx or o.gt or o.lt) or o.gt and o.lt then return end
    if byte(cmd) == 101 then ms = ms * 1000 end
    if sub(cmd, -2) == 'at' then ms = ms - now() end
    if st.c == nil and rpcall('EXISTS', st.k) == 0 then st.c = false end
    if st.c == false then return end
    local v = st.v or term(st, 2)
    if o.nx and v ~= -1 or o.xx and v == -1 or o.gt and (v == -1 or ms <= v) or o.lt and v ~= -1 and ms >= v then return 0 end
    if ms <= 0 then
      touch(st)
      local r = rpcall(name, a[1], a[2])
      if r == 1 then mark(st, false) end
      return r
    end
    renew(st, ms)
    return 1
  end

  -- Makes `other` and `second`.
  local function more()
    -- Options of SET and GETEX, from a[i] on; nil if they are not plainly right.
    local function options(a, i, n, set)
      local o = {}
      while i <= n do
        local w = a[i]
        w = type(w) == 'string' and lower(w)
        if w == 'ex' or w == 'px' or w == 'exat' or w == 'pxat' then
          i = i + 1
          local t = int(a[i])
          if o.ttl or not t or t <= 0 then return end
          if byte(w) == 101 then t = t * 1000 end
          o.ttl, o.at = t, #w == 4
        elseif w and (set and (w == 'nx' or w == 'xx' or w == 'get' or w == 'keepttl') or not set and w == 'persist') then
          o[w] = true
        else
          return
        end
        i = i + 1
      end
      if o.nx and o.xx or o.ttl and (o.keepttl or o.persist) then return end
      return o
    end

    local function extend(st, o)
      local ms = o.ttl or -1
      if o.at then ms = ms - now() end
      if o.at and ms <= 0 then return false end
      if not o.keepttl then renew(st, ms) end
      return true
    end

    -- SET, SETNX, SETEX, PSETEX, GETSET: the value is a[at], o the options (nil: let Redis judge).
    local function write(st, name, a, n, at, o)
      local v = text(a[at])
      if type(v) ~= 'string' then return rpcall(name, unpack(a, 1, n)) end
      local c = touch(st)
      local shown = type(c) == 'string' and view(st, c)
      local same = shown == v
      if same and o and not o.nx and virtual(st) and extend(st, o) then
        if o.get then return shown end
        return {ok = 'OK'}
      end
      local stored = same and c or stamp(v, st.m)
      a[at] = stored
      if not o and shown and shown ~= c then
        for i = at + 1, n do
          if a[i] == shown then a[i] = c end
        end
      end
      local r = rpcall(name, unpack(a, 1, n))
      if failed(r) then return r end
      if not o then
        mark(st)
        st.w = true
      elseif not (o.nx and c) and not (o.xx and not c) then
        -- A time in the past leaves nothing.
        mark(st, not o.at and stored or nil)
        if not o.keepttl then st.w = true end
      end
      if r == c and shown then return shown end
      return r
    end

    local function range(st, a)
      local c, from, to = look(st), int(a[2]), int(a[3])
      if type(c) ~= 'string' or not from or not to then return end
      c = view(st, c)
      if from < 0 and to < 0 and from > to then return '' end
      if from < 0 then from = math.max(#c + from, 0) end
      if to < 0 then to = math.max(#c + to, 0) end
      return sub(c, from + 1, to + 1)
    end

    -- Commands that compute on the value: on the client value.
    local function compute(st, name, a, n)
      local c = touch(st)
      local s = type(c) == 'string' and strip(c, st.m)
      if s and s ~= c then
        local r = rpcall('SET', st.k, s, 'KEEPTTL')
        if failed(r) then return r end
      end
      local r = rpcall(name, unpack(a, 1, n))
      if not failed(r) then
        mark(st)
      elseif s and s ~= c then
        rpcall('SET', st.k, c, 'KEEPTTL')
      end
      return r
    end

    -- MSET and MSETNX.
    local function several(cmd, name, a, n)
      local b, m, hit = {}, 0, {}
      for i = 1, n, 2 do
        local st, v = S[text(a[i])], text(a[i + 1])
        local keep = false
        if st and type(v) == 'string' then
          local c = touch(st)
          local same = type(c) == 'string' and view(st, c) == v
          keep = same and cmd == 'mset' and virtual(st) and not hit[st]
          if keep then renew(st, -1) else hit[#hit + 1], hit[st] = st, true end
          st.n = same and c or stamp(v, st.m)
          v = st.n
        end
        if not keep then
          b[m + 1], b[m + 2] = a[i], v
          m = m + 2
        end
      end
      if m == 0 then return {ok = 'OK'} end
      local r = rpcall(name, unpack(b, 1, m))
      if not failed(r) and r ~= 0 then
        for i = 1, #hit do
          mark(hit[i], hit[i].n)
          hit[i].w = true
        end
      end
      return r
    end

    local READ = ' exists touch type hget hmget hgetall hexists hlen hkeys hvals hstrlen hscan hrandfield zscore zmscore zcard zcount zrange zrangebyscore zrevrange zrevrangebyscore zrank zrevrank zrangebylex zrevrangebylex zlexcount zscan zrandmember lrange llen lindex lpos scard sismember smismember smembers srandmember sscan sinter sunion sdiff xlen xrange xrevrange object getbit bitcount bitpos bitfield_ro dump memory lcs sort_ro pfcount publish spublish echo keys scan xinfo geodist geohash geopos '
    local COMPUTE = ' append setrange setbit incr decr incrby decrby incrbyfloat bitfield '

    -- What makes a lock larger that is no string, and how many of its arguments belong together.
    local GROW = {hset = 2, hmset = 2, hsetnx = 2, hincrby = 2, hincrbyfloat = 2, zadd = 2, zincrby = 2, geoadd = 3, sadd = 1, lpush = 1, rpush = 1, lpushx = 1, rpushx = 1, linsert = 1, lset = 1}

    -- The error for a command that would make a lock larger than can be told from another one. What is
    -- larger already was never a lock.
    local function grow(st, cmd, a, n)
      if type(st.c) == 'string' or st.x == '!' then return end
      local count, size = math.ceil((n - 1) / GROW[cmd]), 0
      for i = 2, n do size = size + #tostring(a[i]) + 32 end
      for try = 1, 2 do
        if not st.y or try == 2 then measure(st) end
        if st.e + count <= 1024 and st.y + size <= 65536 then
          st.e, st.y = st.e + count, st.y + size
          return
        end
      end
      return {err = 'ERR lockside: a lock that is no string has at most 1024 elements and 64 KiB'}
    end

    -- Everything that is not answered on the way: whatever a command does, what stands there before
    -- and after it is compared in the end.
    function other(cmd, name, a, n)
      if find(READ, ' ' .. cmd .. ' ', 1, true) then return rpcall(name, unpack(a, 1, n)) end
      local hit, first = {}, S[text(a[1])]
      if cmd == 'flushdb' or cmd == 'flushall' then
        for _, st in pairs(S) do hit[#hit + 1] = st end
      end
      for i = 1, n do
        local st = S[text(a[i])]
        if st then hit[#hit + 1] = st end
      end
      for i = 1, #hit do touch(hit[i]) end
      local large = first and GROW[cmd] and grow(first, cmd, a, n)
      if large then return large end
      if first and (cmd == 'delex' or cmd == 'delifeq') and type(first.c) == 'string' then
        local shown = view(first, first.c)
        for i = 2, n do
          if a[i] == shown then a[i] = first.c end
        end
      end
      local r = rpcall(name, unpack(a, 1, n))
      if failed(r) then return r end
      for i = 1, #hit do
        local st = hit[i]
        if cmd == 'del' or cmd == 'unlink' then
          if st.c then mark(st, false) end
        else
          mark(st)
          -- The last element may have gone, and the key with it: a later one is another.
          if rpcall('EXISTS', st.k) == 0 then mark(st, false) end
        end
      end
      return r
    end

    -- The other commands whose first argument is a lock key.
    function second(st, cmd, name, a, n)
      if cmd == 'set' then
        if n > 1 then return write(st, name, a, n, 2, options(a, 3, n, true)) end
      elseif cmd == 'setnx' then
        if n == 2 then return write(st, name, a, n, 2, {nx = true}) end
      elseif cmd == 'setex' or cmd == 'psetex' then
        if n == 3 then return write(st, name, a, n, 3, options({sub(cmd, 1, 1) == 's' and 'ex' or 'px', a[2]}, 1, 2, true)) end
      elseif cmd == 'getset' then
        if n == 2 then return write(st, name, a, n, 2, {get = true}) end
      elseif cmd == 'get' then
        local r = rpcall(name, unpack(a, 1, n))
        if type(r) == 'string' then
          st.c = r
          return view(st, r)
        end
        return r
      elseif cmd == 'getdel' then
        local r = rpcall(name, unpack(a, 1, n))
        if type(r) == 'string' then
          if st.b == nil then st.b = r end
          mark(st, false)
          return view(st, r)
        end
        return r
      elseif cmd == 'getex' then
        local c = touch(st)
        local o = options(a, 2, n, false)
        if type(c) == 'string' then
          if o and not RO and (n == 1 or virtual(st) and extend(st, o)) then return view(st, c) end
          local r = other(cmd, name, a, n)
          if type(r) == 'string' then return view(st, r) end
          return r
        end
        return rpcall(name, unpack(a, 1, n))
      elseif cmd == 'strlen' then
        local c = n == 1 and look(st)
        if type(c) == 'string' then return #view(st, c) end
        return rpcall(name, unpack(a, 1, n))
      elseif cmd == 'getrange' or cmd == 'substr' then
        return n == 3 and range(st, a) or rpcall(name, unpack(a, 1, n))
      elseif cmd == 'mget' then
        local r = rpcall(name, unpack(a, 1, n))
        if failed(r) then return r end
        for i = 1, n do
          local s = S[text(a[i])]
          if s and type(r[i]) == 'string' then r[i] = view(s, r[i]) end
        end
        return r
      elseif cmd == 'mset' or cmd == 'msetnx' then
        if n % 2 == 0 then return several(cmd, name, a, n) end
      elseif find(COMPUTE, ' ' .. cmd .. ' ', 1, true) then
        return compute(st, name, a, n)
      end
      return other(cmd, name, a, n)
    end
  end

  local function select_db(name, ...)
    local r = rpcall(name, ...)
    if not failed(r) then
      all = all or {[db] = S}
      db = text((...))
      local other = all[db]
      if not other then
        other = {}
        for k, st in pairs(S) do
          other[k] = {k = k, i = st.i, p = st.p, m = st.m, t = st.t, db = db}
        end
        all[db] = other
      end
      S = other
    end
    return r
  end

  -- A command whose first argument is a lock key.
  local function locked(st, cmd, name, ...)
    local n = select('#', ...)
    if cmd == 'pttl' or cmd == 'ttl' or cmd == 'expiretime' or cmd == 'pexpiretime' then
      local r = rpcall(name, ...)
      if type(r) ~= 'number' or r == -2 or not st.p or st.w then return r end
      return ttl(st, cmd)
    end
    local a = {...}
    if cmd == 'expire' or cmd == 'pexpire' or cmd == 'expireat' or cmd == 'pexpireat' then
      local r = n > 1 and virtual(st) and expire(st, cmd, name, a, n)
      if r then return r end
      local ms = sub(cmd, -2) ~= 'at' and int(a[2])
      if ms and ms > 0 then
        local c = touch(st)
        if not other then more() end
        r = other(cmd, name, a, n)
        st.c = c
        return r
      end
    elseif cmd == 'persist' then
      if n == 1 and virtual(st) and (st.c or st.c == nil and rpcall('EXISTS', st.k) == 1) then
        local v = st.v or term(st, 2)
        renew(st, -1)
        return v == -1 and 0 or 1
      end
    else
      if not second then more() end
      return second(st, cmd, name, a, n)
    end
    if not other then more() end
    return other(cmd, name, a, n)
  end

  -- A command whose first argument is no lock key.
  local function unlocked(cmd, name, ...)
    if cmd == 'select' then return select_db(name, ...) end
    local n = select('#', ...)
    if n > 1 then
      local a = {...}
      for i = 2, n do
        local st = S[text(a[i])]
        if st then
          if not second then more() end
          -- The first argument is no lock key, so only these are judged by their keys.
          if cmd == 'mget' or cmd == 'mset' or cmd == 'msetnx' then return second(st, cmd, name, a, n) end
          return other(cmd, name, a, n)
        end
      end
    end
    if cmd == 'flushdb' or cmd == 'flushall' then
      if not other then more() end
      return other(cmd, name, {...}, n)
    end
    return rpcall(name, ...)
  end

  function rest(...)
    local name, k = ...
    local cmd, st = lower(name), S[text(k)]
    if st then return locked(st, cmd, ...) end
    return unlocked(cmd, ...)
  end
end
