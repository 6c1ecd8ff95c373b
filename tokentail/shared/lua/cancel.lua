-- cancel(id, tenant, ending, control prefix, control_seconds, log_ttl_ms, record_ttl_ms)
--   -> 'unknown' | 'ended' | 'cancelled' | 'cancelling'
--
-- Asks for a job's end. A queued job ends here and now ('cancelled'): the record gets the ending and a
-- fence for it, and is marked `unlogged` until its log holds the ending too. A running one is marked and
-- its owner is told ('cancelling').
--
-- KEYS[1] ready    zset: queued jobs
-- KEYS[2] record   hash
-- KEYS[3] request  string
-- Also touches the owner's control list and the record's idempotency key.

local state = redis.call('HMGET', KEYS[2], 'status', 'tenant', 'fence', 'owner', 'idem')
local status, tenant, fence, owner, idem = state[1], state[2], state[3], state[4], state[5]
if not status or tenant ~= ARGV[2] then
  return 'unknown'
end

if status == 'running' then
  redis.call('HSETNX', KEYS[2], 'cancel', '1')
  local control = ARGV[4] .. owner
  redis.call('LPUSH', control, 'cancel ' .. ARGV[1] .. ' ' .. fence)
  redis.call('EXPIRE', control, ARGV[5])
  return 'cancelling'
end
if status ~= 'queued' then
  return 'ended'
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local new = string.format('%.0f', math.max(fence + 1, now))
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], 'status', 'cancelled', 'fence', new, 'cursor', new .. '-0', 'ending', ARGV[3],
  'ended', string.format('%.0f', now), 'unlogged', '1')
redis.call('HDEL', KEYS[2], 'envelope')
redis.call('PEXPIRE', KEYS[3], ARGV[6])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
if idem then
  redis.call('PEXPIRE', idem, ARGV[7])
end
return 'cancelled'
