-- delete(id, tenant, control prefix, control_seconds)
--   -> 'unknown' | 'deleted'
--
-- Removes all that the control plane knows of a job, whatever its state, and tells its owner, if any.
-- The caller removes the log.
--
-- KEYS[1] ready    zset: queued jobs
-- KEYS[2] leases   zset: running jobs
-- KEYS[3] record   hash
-- KEYS[4] request  string
-- Also removes the record's idempotency key and index entry, and pushes to the owner's control list.

local state = redis.call('HMGET', KEYS[3], 'tenant', 'status', 'fence', 'owner', 'idem', 'index')
if not state[1] or state[1] ~= ARGV[2] then
  return 'unknown'
end
if state[2] == 'running' then
  local control = ARGV[3] .. state[4]
  redis.call('LPUSH', control, 'gone ' .. ARGV[1] .. ' ' .. state[3])
  redis.call('EXPIRE', control, ARGV[4])
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', state[6], ARGV[1])
redis.call('DEL', KEYS[3], KEYS[4])
if state[5] then
  redis.call('DEL', state[5])
end
return 'deleted'
