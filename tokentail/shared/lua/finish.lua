-- finish(id, fence, cursor, status, ending, result, log_ttl_ms, record_ttl_ms, dead_ttl_ms)
--   -> 'finished' | 'lost' | 'gone'
--
-- Stores a job's ending, which its log already holds at `cursor`, and frees its lease. Repeating it is
-- harmless. 'lost': a newer attempt has claimed the job (it will find the ending in the log), or the
-- record holds another ending. 'gone': the job was deleted.
-- A job that failed because it was found out as the cause of crashes becomes a dead letter.
--
-- KEYS[1] leases    zset: running jobs
-- KEYS[2] ready     zset: queued jobs
-- KEYS[3] suspects  zset: queued jobs that have crashed
-- KEYS[4] dead      zset: dead letters by the ms of their ending
-- KEYS[5] record    hash
-- KEYS[6] request   string: kept as long as the log, or as the dead letter, so that it can be run again
-- Also sets the lifetime of the record's idempotency key.

despite_full_memory()
local state = redis.call('HMGET', KEYS[5], 'fence', 'cursor', 'idem', 'unlogged', 'poison')
local fence, cursor, idem, unlogged, poison = state[1], state[2], state[3], state[4], state[5]
if not fence then
  return 'gone'
end
-- An ending that was decided here but lost against one that the log already held: the log wins.
if cursor and not unlogged then
  return cursor == ARGV[3] and 'finished' or 'lost'
end
if fence ~= ARGV[2] then
  return 'lost'
end

local now = whole(now_ms())
local request_ttl, record_ttl = ARGV[7], ARGV[8]
redis.call('HSET', KEYS[5], 'status', ARGV[4], 'cursor', ARGV[3], 'ending', ARGV[5], 'result', ARGV[6])
redis.call('HSETNX', KEYS[5], 'ended', now)
redis.call('HDEL', KEYS[5], 'owner', 'envelope', 'unlogged')
for i = 1, 3 do
  redis.call('ZREM', KEYS[i], ARGV[1])
end
if poison and ARGV[4] == 'failed' then
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now - ARGV[9])
  redis.call('ZADD', KEYS[4], now, ARGV[1])
  request_ttl, record_ttl = ARGV[9], whole(math.max(ARGV[8], ARGV[9]))
end
redis.call('PEXPIRE', KEYS[6], request_ttl)
redis.call('PEXPIRE', KEYS[5], record_ttl)
if idem then
  redis.call('PEXPIRE', idem, record_ttl)
end
return 'finished'
