-- claim(worker, ticket, slots, running, probation, lease_ms, grace_ms, memory_seconds, pace_seconds,
--       record prefix, request prefix, alone prefix)
--   -> {now_ms, wait_ms, {job, ...}} with job = {id, fence, request or 'null', record as HGETALL}
--
-- First returns lapsed leases to the queue, then claims, each with a new fence: one suspect, which is to
-- run alone, or else up to `slots` ripe jobs. `running`: attempts that the worker is making already; it
-- gets a suspect only when that has waited `grace_ms` for a worker that makes none. `probation`: '1' while it
-- keeps others from its suspect.
-- `ticket` names this claim: after a lost reply the same ticket gets the same jobs again.
-- wait_ms: when another claim may bring something; -1 if nothing is known to come.
--
-- KEYS[1] ready     zset: queued jobs by the ms at which they may be claimed
-- KEYS[2] suspects  zset: the same for queued jobs that have crashed
-- KEYS[3] leases    zset: running jobs by the ms at which their lease lapses
-- KEYS[4] bell      list: at most one push
-- KEYS[5] claimed   string: the worker's last productive claim, '<ticket> <job> <fence> ...'
-- KEYS[6] alone     string: the suspect that the worker runs alone, or is finding out about
-- KEYS[7] pace      hash: at (ms), rate (jobs/s that leave the queue, decaying over pace_seconds)
-- Also touches the records and requests of the jobs it finds, and reads `alone` of their dead owners.

local worker, ticket, slots, running = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local probation, lease, memory, tau = ARGV[5] == '1', tonumber(ARGV[6]), ARGV[8], tonumber(ARGV[9])
local grace = running > 0 and tonumber(ARGV[7]) or 0
local records, requests, alones = ARGV[10], ARGV[11], ARGV[12]

despite_full_memory()
local now = now_ms()

-- Bounded, so that a mass crash does not stall Redis; what is left lapses in the next claim.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[3], id)
  local record = records .. id
  local state = redis.call('HMGET', record, 'status', 'owner', 'fence', 'created', 'lost_workers')
  if state[1] == 'running' then
    local blamed = redis.call('GET', alones .. state[2])
    -- Taken for a crash until the owner says that it is alive (handback). Who ran beside a suspect is not
    -- blamed for its crash; who crashes alone has been found out.
    if not blamed or blamed == id then
      redis.call('HINCRBY', record, 'crashes', 1)
      redis.call('HSET', record, 'lapsed', state[3], 'lost_workers', (state[5] or '') .. state[2] .. ' ')
      if blamed then
        redis.call('HSET', record, 'poison', '1')
      end
    end
    redis.call('HSET', record, 'status', 'queued', 'reason', 'lost', 'owner', '')
    -- By its creation, not by now: its followers have waited longest.
    queue_up(KEYS[1], KEYS[2], id, record, state[4], now)
  end
end

-- Who is past its probation and not the only one is in company, and a crash says nothing of it any more.
local alone = redis.call('GET', KEYS[6])
if alone and not probation and (running ~= 1 or redis.call('HGET', records .. alone, 'owner') ~= worker) then
  redis.call('DEL', KEYS[6])
end

local jobs, claimed = {}, {ticket}
local function answer(id, fence)
  jobs[#jobs + 1] = {id, fence, redis.call('GET', requests .. id) or 'null', redis.call('HGETALL', records .. id)}
end

local function take(queue, id)
  redis.call('ZREM', queue, id)
  local record = records .. id
  local old = redis.call('HGET', record, 'fence')
  if not old then return end
  -- At least the time: a failover that forgets this claim can't hand the same fence out again.
  local fence = whole(math.max(old + 1, now))
  redis.call('HSET', record, 'status', 'running', 'owner', worker, 'fence', fence)
  redis.call('HSETNX', record, 'started', whole(now))
  redis.call('HINCRBY', record, 'attempt', 1)
  redis.call('ZADD', KEYS[3], now + lease, id)
  claimed[#claimed + 1] = id
  claimed[#claimed + 1] = fence
  answer(id, fence)
end

local known = {}
for word in (redis.call('GET', KEYS[5]) or ''):gmatch('%S+') do
  known[#known + 1] = word
end
if known[1] == ticket then
  for i = 2, #known, 2 do
    local state = redis.call('HMGET', records .. known[i], 'status', 'owner', 'fence')
    if state[1] == 'running' and state[2] == worker and state[3] == known[i + 1] then
      redis.call('ZADD', KEYS[3], now + lease, known[i])
      answer(known[i], known[i + 1])
    end
  end
elseif slots > 0 then
  local suspect = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - grace, 'LIMIT', 0, 1)[1]
  if suspect then
    take(KEYS[2], suspect)
    redis.call('SET', KEYS[6], suspect, 'EX', memory)
  else
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, slots)) do
      take(KEYS[1], id)
    end
    if #jobs > 0 then
      redis.call('DEL', KEYS[6])
      local pace = redis.call('HMGET', KEYS[7], 'at', 'rate')
      local passed = math.max(0, now - (pace[1] or now)) / 1000
      local rate = (pace[2] or 0) * math.exp(-passed / tau) + #jobs / tau
      redis.call('HSET', KEYS[7], 'at', whole(now), 'rate', string.format('%.6f', rate))
    end
  end
  if #jobs > 0 then
    redis.call('SET', KEYS[5], table.concat(claimed, ' '), 'EX', memory)
  end
end

local wait = -1
local function look_at(zset, later)
  local first = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
  if first[1] then
    local from_now = math.max(0, first[2] + later - now)
    if wait < 0 or from_now < wait then wait = from_now end
  end
end
look_at(KEYS[1], 0)
-- For suspects nobody is woken: who is idle looks when their lease lapses.
if wait == 0 and redis.call('LLEN', KEYS[4]) == 0 then
  redis.call('LPUSH', KEYS[4], '1')
end
look_at(KEYS[2], grace)
look_at(KEYS[3], 0)
return {now, wait, jobs}
