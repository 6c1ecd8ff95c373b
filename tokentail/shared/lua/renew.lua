-- renew(worker, lease_ms, record prefix, forget_ms, id, fence, id, fence, ...)
--   -> {'held' | 'cancel' | 'lost' | 'gone', ...}, one per job
--
-- Renews a worker's leases and is its heartbeat. 'cancel': still held, but somebody asked to cancel it
-- (the message in the control list may have been lost). 'lost': no longer this worker's attempt.
-- 'gone': the job was deleted.
--
-- KEYS[1] leases   zset: running jobs by the ms at which their lease lapses
-- KEYS[2] workers  zset: workers by the ms of their last heartbeat
-- Also reads the records of the jobs.

local worker, lease, records = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('ZADD', KEYS[2], now, worker)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[4])

local answers = {}
for i = 5, #ARGV, 2 do
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
