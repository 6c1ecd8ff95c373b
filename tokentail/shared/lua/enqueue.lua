-- enqueue(id, tenant, model, envelope, request, metadata, deadline_ms, max_queue, idempotency hash,
--         record prefix)
--   -> {'stored' | 'same' | 'conflict', id, record as HGETALL} | {'full'}
--
-- Stores a job and rings the bell, or says why not. All or nothing.
--
-- KEYS[1] ready    zset: queued jobs
-- KEYS[2] bell     list: at most one push
-- KEYS[3] record   hash of the new job
-- KEYS[4] request  string of the new job
-- KEYS[5] index    zset: the tenant's jobs
-- KEYS[6] idem     string '<job> <hash>' (touched only if a hash is given)
-- Also reads the records of the idempotency key's job and of the index's two oldest.

local id, hash, prefix = ARGV[1], ARGV[9], ARGV[10]

if hash ~= '' then
  local known = redis.call('GET', KEYS[6])
  if known then
    local job, body = known:match('^(%S+) (%S+)$')
    if redis.call('EXISTS', prefix .. job) == 1 then
      return {body == hash and 'same' or 'conflict', job, redis.call('HGETALL', prefix .. job)}
    end
  end
end

if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[8]) then
  return {'full'}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('HSET', KEYS[3],
  'status', 'queued', 'tenant', ARGV[2], 'model', ARGV[3], 'envelope', ARGV[4], 'metadata', ARGV[6],
  'created', string.format('%.0f', now), 'deadline', string.format('%.0f', now + ARGV[7]),
  'attempt', 0, 'tries', 0, 'crashes', 0, 'handoffs', 0, 'fence', 0, 'reason', 'start', 'index', KEYS[5])
redis.call('SET', KEYS[4], ARGV[5])
redis.call('ZADD', KEYS[1], now, id)
redis.call('ZADD', KEYS[5], 0, id)
if hash ~= '' then
  redis.call('SET', KEYS[6], id .. ' ' .. hash)
  redis.call('HSET', KEYS[3], 'idem', KEYS[6])
end

-- Records expire by themselves, index entries don't: each enqueue looks at two of the oldest, so the
-- index shrinks faster than it grows.
for _, old in ipairs(redis.call('ZRANGE', KEYS[5], 0, 1)) do
  if redis.call('EXISTS', prefix .. old) == 0 then
    redis.call('ZREM', KEYS[5], old)
  end
end

-- One push is enough: a worker that claims and leaves ripe jobs behind rings again.
if redis.call('LLEN', KEYS[2]) == 0 then
  redis.call('LPUSH', KEYS[2], '1')
end
return {'stored', id, redis.call('HGETALL', KEYS[3])}
