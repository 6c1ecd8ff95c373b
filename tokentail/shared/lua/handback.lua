-- handback(id, fence, reason, delay_ms, counter)
--   -> 'queued' | 'cancel' | 'lost'
--
-- Gives a running job back to the queue, to be claimed after the delay. 'cancel': it is not given back
-- because somebody asked to cancel it; its owner has to end it (but for reason 'lost': its owner may not).
-- 'lost': it was not this attempt's any more. If that is because its lease lapsed, the lapse no longer
-- counts as a crash: who can say so is alive.
--
-- KEYS[1] ready   zset: queued jobs by the ms at which they may be claimed
-- KEYS[2] leases  zset: running jobs
-- KEYS[3] bell    list: at most one push
-- KEYS[4] record  hash; `counter` is its field that counts why jobs come back (tries, handoffs)

local state = redis.call('HMGET', KEYS[4], 'status', 'fence', 'cancel', 'created', 'lapsed')
if state[1] ~= 'running' or state[2] ~= ARGV[2] then
  if state[5] == ARGV[2] and (state[1] == 'queued' or state[1] == 'running') then
    redis.call('HINCRBY', KEYS[4], 'crashes', -1)
    redis.call('HDEL', KEYS[4], 'lapsed')
  end
  return 'lost'
end
if state[3] and ARGV[3] ~= 'lost' then
  return 'cancel'
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local delay = tonumber(ARGV[4])
redis.call('HSET', KEYS[4], 'status', 'queued', 'reason', ARGV[3], 'owner', '')
if ARGV[5] ~= '' then
  redis.call('HINCRBY', KEYS[4], ARGV[5], 1)
end
redis.call('ZREM', KEYS[2], ARGV[1])
-- Without a delay by its creation: a job that was running already goes before those that never ran.
redis.call('ZADD', KEYS[1], delay > 0 and now + delay or state[4], ARGV[1])
-- Also for a delayed job: an idle worker that is woken learns from its claim when to look again.
if redis.call('LLEN', KEYS[3]) == 0 then
  redis.call('LPUSH', KEYS[3], '1')
end
return 'queued'
