-- What stands behind the client's text in an envelope; `envelope.rs` says how the two are joined.
-- In scope: `redis` (still Redis's own), `client`, and what `envelope.rs` gives in the joint.
-- Comments and indents are taken out before use, so a comment has a line of its own.
--
-- This runs anew with each call, so what it costs is the making of closures and tables. Most calls
-- are GET, compare, DEL: `run` answers those, and the rest is made when it is first needed.

-- The envelope's parameters are the last arguments; once they are off, ARGV is the client's.
-- head: marker 16, nonce 16, timestamp 19, SHA 40, 'r' or 'w' or 'f', number of locks 7, database;
-- behind 'f' then a space and the key of the counter of fences
local keys, argv = KEYS, ARGV
local n = #argv
local head = argv[n]
argv[n] = nil
if string.byte(head, 92) == 114 then RO = true end
local db, counter = string.sub(head, 100)
if string.byte(head, 92) == 102 then db, counter = string.match(db, '^(%d+) (.*)$') end
local real, rpcall = redis, redis.pcall
-- Databases that were selected, each with its S; the locks that may have been written; the line
-- of the last error; what is made when it is needed.
local all, D, line, view, rest, look, contents = nil, {}
-- State of a lock key. k key, i index, p persistent rule, m stamp mode, t its terms; c what
-- stands there (nil unknown, false nothing, string the stored value, true another type);
-- b the same before the first write; d may have been written; w written by this script, so that
-- its real TTL is the client's; v virtual TTL in ms (-1 none). Of another type: x its content before
-- the first write; g it was gone in between, so that what stands there is another's; y and e at most so
-- many bytes and elements.
local S = {}
for i = n - 1, n - tonumber(string.sub(head, 93, 99)), -1 do
  local t = argv[i]
  argv[i] = nil
  local index = string.sub(t, 3, 9)
  local k = keys[tonumber(index)]
  S[k] = {k = k, i = index, p = string.byte(t) == 112, m = string.sub(t, 2, 2), t = t, db = db}
end
