-- expire(most, late ending, cancelled ending, verdict_ms, log_ttl_ms, record_ttl_ms,
--        record prefix, request prefix, alone prefix)
--   -> {id, ...}
--
-- Does what is due though no worker claims: returns lapsed leases to the queue, and ends queued jobs that may
-- no longer be started, or that were to be cancelled when their owner died. They end in their records; their
-- logs have yet to be told. Looks at the first `most` of each queue: those that have waited longest.
--
-- KEYS[1] ready     zset: queued jobs by the ms at which they may be claimed
-- KEYS[2] suspects  zset: the same for queued jobs that have crashed
-- KEYS[3] leases    zset: running jobs by the ms at which their lease lapses
-- Also touches the records, requests and idempotency keys of the jobs it finds, and reads `alone`.

local records, requests = ARGV[7], ARGV[8]

despite_full_memory()
local now = now_ms()
return_lapsed(KEYS[1], KEYS[2], KEYS[3], records, ARGV[9], tonumber(ARGV[4]), now)

local ended = {}
for i = 1, 2 do
  for _, id in ipairs(redis.call('ZRANGE', KEYS[i], 0, ARGV[1] - 1)) do
    local state = redis.call('HMGET', records .. id, 'attempt', 'start_by', 'deadline', 'cancel')
    -- Who has begun once may begin again until the deadline.
    local latest = state[1] == '0' and state[2] or state[3]
    local status, ending
    if state[4] then
      status, ending = 'cancelled', ARGV[3]
    elseif latest and now >= tonumber(latest) then
      status, ending = 'failed', ARGV[2]
    end
    if status then
      end_in_queue(now, KEYS[1], KEYS[2], id, records .. id, requests .. id, status, ending, ARGV[5], ARGV[6])
      ended[#ended + 1] = id
    end
  end
end
return ended
