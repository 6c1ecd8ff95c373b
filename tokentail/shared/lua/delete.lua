-- delete(id, tenant, control prefix, control_seconds)
--   -> 'unknown' | 'deleted'
--
-- Removes all that the control plane knows of a job, whatever its state, and tells its owner, if any.
-- The caller removes the log.
--
-- KEYS[1] ready     zset: queued jobs
-- KEYS[2] suspects  zset: queued jobs that have crashed
-- KEYS[3] leases    zset: running jobs
-- KEYS[4] dead      zset: dead letters
-- KEYS[5] record    hash
-- KEYS[6] request   string
-- Also removes the record's idempotency key and index entry, and pushes to the owner's control list.

despite_full_memory()
local state = redis.call('HMGET', KEYS[5], 'tenant', 'status', 'fence', 'owner', 'idem', 'index')
if not state[1] or state[1] ~= ARGV[2] then
  return 'unknown'
end
if state[2] == 'running' then
  local control = ARGV[3] .. state[4]
  redis.call('LPUSH', control, 'gone ' .. ARGV[1] .. ' ' .. state[3])
  redis.call('EXPIRE', control, ARGV[4])
end
for i = 1, 4 do
  redis.call('ZREM', KEYS[i], ARGV[1])
end
redis.call('ZREM', state[6], ARGV[1])
redis.call('DEL', KEYS[5], KEYS[6])
if state[5] then
  redis.call('DEL', state[5])
end
return 'deleted'
