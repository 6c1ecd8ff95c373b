-- enqueue(id, tenant, model, envelope, request, metadata, deadline_ms, start_ms, max_queue,
--         idempotency hash, pace_seconds, record prefix)
--   -> {'stored' | 'same' | 'conflict', id, record as HGETALL} | {'full', jobs/s that leave the queue}
--
-- Stores a job and rings the bell, or says why not. All or nothing.
--
-- KEYS[1] ready    zset: queued jobs
-- KEYS[2] suspects zset: queued jobs that have crashed
-- KEYS[3] bell     list: at most one push
-- KEYS[4] record   hash of the new job
-- KEYS[5] request  string of the new job
-- KEYS[6] index    zset: the tenant's jobs
-- KEYS[7] idem     string '<job> <hash>' (touched only if a hash is given)
-- KEYS[8] pace     hash: at (ms), rate (jobs/s that leave the queue, decaying over pace_seconds)
-- Also reads the records of the idempotency key's job and of the index's two oldest.

local id, hash, tau, prefix = ARGV[1], ARGV[10], tonumber(ARGV[11]), ARGV[12]

if hash ~= '' then
  local known = redis.call('GET', KEYS[7])
  if known then
    local job, body = known:match('^(%S+) (%S+)$')
    if redis.call('EXISTS', prefix .. job) == 1 then
      return {body == hash and 'same' or 'conflict', job, redis.call('HGETALL', prefix .. job)}
    end
  end
end

local now = now_ms()
if redis.call('ZCARD', KEYS[1]) + redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[9]) then
  return {'full', string.format('%.6f', pace_now(KEYS[8], tau, now))}
end

redis.call('HSET', KEYS[4],
  'status', 'queued', 'tenant', ARGV[2], 'model', ARGV[3], 'envelope', ARGV[4], 'metadata', ARGV[6],
  'created', whole(now), 'deadline', whole(now + ARGV[7]), 'start_by', whole(now + ARGV[8]),
  'attempt', 0, 'tries', 0, 'crashes', 0, 'handoffs', 0, 'fence', 0, 'reason', 'start', 'index', KEYS[6])
redis.call('SET', KEYS[5], ARGV[5])
redis.call('ZADD', KEYS[1], now, id)
redis.call('ZADD', KEYS[6], 0, id)
if hash ~= '' then
  redis.call('SET', KEYS[7], id .. ' ' .. hash)
  redis.call('HSET', KEYS[4], 'idem', KEYS[7])
end

-- Records expire by themselves, index entries don't: each enqueue looks at two of the oldest, so the
-- index shrinks faster than it grows.
for _, old in ipairs(redis.call('ZRANGE', KEYS[6], 0, 1)) do
  if redis.call('EXISTS', prefix .. old) == 0 then
    redis.call('ZREM', KEYS[6], old)
  end
end

ring(KEYS[3])
return {'stored', id, redis.call('HGETALL', KEYS[4])}
