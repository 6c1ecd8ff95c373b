-- expire(most, ending, log_ttl_ms, record_ttl_ms, record prefix, request prefix)
--   -> {id, ...}
--
-- Ends queued jobs that may no longer be started, in their records; their logs have yet to be told. Looks
-- at the first `most` of each queue: those that have waited longest stand there.
--
-- KEYS[1] ready     zset: queued jobs by the ms at which they may be claimed
-- KEYS[2] suspects  zset: the same for queued jobs that have crashed
-- Also touches the records, requests and idempotency keys of the jobs it ends.

despite_full_memory()
local now = now_ms()
local ended = {}
for _, queue in ipairs(KEYS) do
  for _, id in ipairs(redis.call('ZRANGE', queue, 0, ARGV[1] - 1)) do
    local record = ARGV[5] .. id
    local state = redis.call('HMGET', record, 'attempt', 'start_by', 'deadline')
    -- Who has begun once may begin again until the deadline.
    local latest = state[1] == '0' and state[2] or state[3]
    if latest and now >= tonumber(latest) then
      end_in_queue(now, KEYS[1], KEYS[2], id, record, ARGV[6] .. id, 'failed', ARGV[2], ARGV[3], ARGV[4])
      ended[#ended + 1] = id
    end
  end
end
return ended
