-- claim(worker, slots, lease_ms, record prefix, request prefix)
--   -> {now_ms, wait_ms, {job, ...}} with job = {id, fence, request or 'null', record as HGETALL}
--
-- First returns lapsed leases to the queue, then claims up to `slots` ripe jobs, each with a new fence.
-- wait_ms: when the next queued job ripens or the next lease lapses; -1 if there is neither.
--
-- KEYS[1] ready   zset: queued jobs by the ms at which they may be claimed
-- KEYS[2] leases  zset: running jobs by the ms at which their lease lapses
-- KEYS[3] bell    list: at most one push
-- Also touches the records and requests of the jobs it finds.

local worker, slots, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local records, requests = ARGV[4], ARGV[5]

-- Redis's clock, never a host's: leases of all workers are measured by one clock.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Bounded, so that a mass crash does not stall Redis; what is left lapses in the next claim.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[2], id)
  local record = records .. id
  if redis.call('HGET', record, 'status') == 'running' then
    -- Taken for a crash until the owner says that it is alive (handback).
    redis.call('HSET', record, 'status', 'queued', 'reason', 'lost', 'owner', '',
      'lapsed', redis.call('HGET', record, 'fence'))
    redis.call('HINCRBY', record, 'crashes', 1)
    -- By its creation, not by now: its followers have waited longest.
    redis.call('ZADD', KEYS[1], redis.call('HGET', record, 'created'), id)
  end
end

local jobs = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, slots)) do
  redis.call('ZREM', KEYS[1], id)
  local record = records .. id
  local old = redis.call('HGET', record, 'fence')
  if old then
    -- At least the time: a failover that forgets this claim can't hand the same fence out again.
    local fence = string.format('%.0f', math.max(old + 1, now))
    redis.call('HSET', record, 'status', 'running', 'owner', worker, 'fence', fence)
    redis.call('HSETNX', record, 'started', string.format('%.0f', now))
    redis.call('HINCRBY', record, 'attempt', 1)
    redis.call('ZADD', KEYS[2], now + lease, id)
    jobs[#jobs + 1] = {id, fence, redis.call('GET', requests .. id) or 'null', redis.call('HGETALL', record)}
  end
end

local wait = -1
local ripe = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if ripe[1] then
  wait = math.max(0, ripe[2] - now)
  if wait == 0 and redis.call('LLEN', KEYS[3]) == 0 then
    redis.call('LPUSH', KEYS[3], '1')
  end
end
local lapsing = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if lapsing[1] then
  local lapse = math.max(0, lapsing[2] - now)
  if wait < 0 or lapse < wait then wait = lapse end
end
return {now, wait, jobs}
