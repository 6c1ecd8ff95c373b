-- renew(worker, lease_ms, record prefix, forget_ms, lag_ms, lag_seconds, id, fence, id, fence, ...)
--   -> {'held' | 'cancel' | 'lost' | 'gone', ...}, one per job
--
-- Renews a worker's leases and is its heartbeat. 'cancel': still held, but somebody asked to cancel it
-- (the message in the control list may have been lost). 'lost': no longer this worker's attempt.
-- 'gone': the job was deleted.
--
-- KEYS[1] leases   zset: running jobs by the ms at which their lease lapses
-- KEYS[2] workers  zset: workers by the ms of their last heartbeat
-- KEYS[3] lag      hash: worker -> ms by which its event loop was late; expires lag_seconds after the last beat
-- Also reads the records of the jobs.

local worker, lease, records = ARGV[1], tonumber(ARGV[2]), ARGV[3]
despite_full_memory()
local now = now_ms()

redis.call('ZADD', KEYS[2], now, worker)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[4])

redis.call('HSET', KEYS[3], worker, ARGV[5])
redis.call('EXPIRE', KEYS[3], ARGV[6])
-- Also of those that have left by themselves. Every worker is in both, so a longer hash has others in it.
if redis.call('HLEN', KEYS[3]) > redis.call('ZCARD', KEYS[2]) then
  for _, name in ipairs(redis.call('HKEYS', KEYS[3])) do
    if not redis.call('ZSCORE', KEYS[2], name) then
      redis.call('HDEL', KEYS[3], name)
    end
  end
end

local answers = {}
for i = 7, #ARGV, 2 do
  local id, fence = ARGV[i], ARGV[i + 1]
  local state = redis.call('HMGET', records .. id, 'status', 'owner', 'fence', 'cancel')
  local answer = 'lost'
  if not state[1] then
    answer = 'gone'
  elseif state[1] == 'running' and state[2] == worker and state[3] == fence then
    redis.call('ZADD', KEYS[1], now + lease, id)
    answer = state[4] and 'cancel' or 'held'
  end
  answers[#answers + 1] = answer
end
return answers
