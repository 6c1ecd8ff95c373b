-- finish(id, fence, cursor, status, ending, result, log_ttl_ms, record_ttl_ms)
--   -> 'finished' | 'lost' | 'gone'
--
-- Stores a job's ending, which its log already holds at `cursor`, and frees its lease. Repeating it is
-- harmless. 'lost': a newer attempt has claimed the job (it will find the ending in the log), or the
-- record holds another ending. 'gone': the job was deleted.
--
-- KEYS[1] leases   zset: running jobs
-- KEYS[2] ready    zset: queued jobs
-- KEYS[3] record   hash
-- KEYS[4] request  string: kept as long as the log, so that the job can be run again from it
-- Also sets the lifetime of the record's idempotency key.

local state = redis.call('HMGET', KEYS[3], 'fence', 'cursor', 'idem', 'unlogged')
local fence, cursor, idem, unlogged = state[1], state[2], state[3], state[4]
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

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[3], 'status', ARGV[4], 'cursor', ARGV[3], 'ending', ARGV[5], 'result', ARGV[6])
redis.call('HSETNX', KEYS[3], 'ended', string.format('%.0f', now))
redis.call('HDEL', KEYS[3], 'owner', 'envelope', 'unlogged')
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[4], ARGV[7])
redis.call('PEXPIRE', KEYS[3], ARGV[8])
if idem then
  redis.call('PEXPIRE', idem, ARGV[8])
end
return 'finished'
