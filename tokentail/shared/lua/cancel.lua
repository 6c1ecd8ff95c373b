-- cancel(id, tenant, ending, control prefix, control_seconds, log_ttl_ms, record_ttl_ms)
--   -> 'unknown' | 'ended' | 'cancelled' | 'cancelling'
--
-- Asks for a job's end. A queued job ends here and now ('cancelled'), in its record; its log has yet to be
-- told. A running one is marked and its owner is told ('cancelling').
--
-- KEYS[1] ready     zset: queued jobs
-- KEYS[2] suspects  zset: queued jobs that have crashed
-- KEYS[3] record    hash
-- KEYS[4] request   string
-- Also touches the owner's control list and the record's idempotency key.

despite_full_memory()
local state = redis.call('HMGET', KEYS[3], 'status', 'tenant', 'fence', 'owner')
local status, tenant, fence, owner = state[1], state[2], state[3], state[4]
if not status or tenant ~= ARGV[2] then
  return 'unknown'
end

if status == 'running' then
  redis.call('HSETNX', KEYS[3], 'cancel', '1')
  local control = ARGV[4] .. owner
  redis.call('LPUSH', control, 'cancel ' .. ARGV[1] .. ' ' .. fence)
  redis.call('EXPIRE', control, ARGV[5])
  return 'cancelling'
end
if status ~= 'queued' then
  return 'ended'
end
end_in_queue(
  now_ms(), KEYS[1], KEYS[2], ARGV[1], KEYS[3], KEYS[4], 'cancelled', ARGV[3], ARGV[6], ARGV[7])
return 'cancelled'
