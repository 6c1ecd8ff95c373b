-- claim(worker, ticket, slots, running, lease_ms, first_grace_ms, second_grace_ms, verdict_ms,
--       memory_seconds, pace_seconds, record prefix, request prefix, alone prefix)
--   -> {now_ms, wait_ms, {job, ...}} with job = {id, fence, request or 'null', record as HGETALL}
--
-- First returns lapsed leases to the queue, then claims up to `slots` ripe jobs, each with a new fence. A
-- worker that makes no attempt (`running`) gets a suspect, if there is one, and nothing else: it runs alone. A
-- busy one gets a suspect beside others, when that has waited for an idle one for its grace; one that has
-- crashed three times goes to idle workers only. `ticket` names this claim: after a lost reply the same ticket gets the same jobs again.
-- wait_ms: when another claim may bring something; -1 if nothing is known to come.
--
-- KEYS[1] ready     zset: queued jobs by the ms at which they may be claimed
-- KEYS[2] suspects  zset: the same for queued jobs that have crashed
-- KEYS[3] leases    zset: running jobs by the ms at which their lease lapses
-- KEYS[4] bell      list: at most one push
-- KEYS[5] claimed   string: the worker's last productive claim, '<ticket> <job> <fence> ...'
-- KEYS[6] alone     string: the suspect that the worker runs alone
-- KEYS[7] pace      hash: at (ms), rate (jobs/s that leave the queue, decaying over pace_seconds)
-- Also touches the records and requests of the jobs it finds, and reads `alone` of their dead owners.

local worker, ticket, slots, running = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local lease, graces, verdict = tonumber(ARGV[5]), {tonumber(ARGV[6]), tonumber(ARGV[7])}, tonumber(ARGV[8])
local memory, tau = ARGV[9], tonumber(ARGV[10])
local records, requests, alones = ARGV[11], ARGV[12], ARGV[13]

-- Suspects are few; beyond so many the others wait until these are taken.
local SUSPECTS_LOOKED_AT = 20

despite_full_memory()
local now = now_ms()
return_lapsed(KEYS[1], KEYS[2], KEYS[3], records, alones, verdict, now)

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

-- The suspect that this worker may take now, else in how many ms there may be one.
local function fitting_suspect()
  local found, soonest = redis.call('ZRANGE', KEYS[2], 0, SUSPECTS_LOOKED_AT - 1, 'WITHSCORES'), nil
  for i = 1, #found, 2 do
    local crashes = tonumber(redis.call('HGET', records .. found[i], 'crashes') or 0)
    local grace = running == 0 and 0 or graces[crashes]
    if grace then
      local left = found[i + 1] + grace - now
      if left <= 0 then return found[i], 0 end
      soonest = math.min(soonest or left, left)
    end
  end
  return nil, soonest
end

local function claim_anew()
  if slots == 0 then return end

  local suspect = fitting_suspect()
  if suspect then take(KEYS[2], suspect) end
  if suspect and running == 0 then
    redis.call('SET', KEYS[6], suspect, 'EX', memory)
    return
  end
  -- Who never crashed does not wait for those who did.
  local others = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, slots - #jobs)
  for _, id in ipairs(others) do
    take(KEYS[1], id)
  end
  if #others > 0 then
    local rate = pace_now(KEYS[7], tau, now) + #others / tau
    redis.call('HSET', KEYS[7], 'at', whole(now), 'rate', string.format('%.6f', rate))
  end
  if #jobs > 0 then
    -- Whom it ran alone is in company now: a crash says nothing of it any more.
    redis.call('DEL', KEYS[6])
  end
end

local function claim_again(known)
  for i = 2, #known, 2 do
    local id, fence = known[i], known[i + 1]
    local record = records .. id
    local state = redis.call('HMGET', record, 'status', 'owner', 'fence', 'lapsed')
    if state[1] == 'running' and state[2] == worker and state[3] == fence then
      redis.call('ZADD', KEYS[3], now + lease, id)
      answer(id, fence)
    elseif state[4] == fence and (state[1] == 'queued' or state[1] == 'running') then
      acquit(KEYS[1], KEYS[2], id, record, now)
    end
  end
end

local known = {}
for word in (redis.call('GET', KEYS[5]) or ''):gmatch('%S+') do
  known[#known + 1] = word
end
if known[1] == ticket then
  claim_again(known)
else
  claim_anew()
  if #jobs > 0 then
    redis.call('SET', KEYS[5], table.concat(claimed, ' '), 'EX', memory)
  end
end
running = running + #jobs

local wait = -1
local function sooner(ms)
  if ms and (wait < 0 or ms < wait) then wait = math.max(0, ms) end
end
local function first_in(zset)
  local first = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
  return first[1] and first[2] - now
end
sooner(first_in(KEYS[1]))
-- For suspects nobody is woken: who is idle looks when their lease lapses.
if wait == 0 then ring(KEYS[4]) end
local _, soonest = fitting_suspect()
sooner(soonest)
sooner(first_in(KEYS[3]))
return {now, wait, jobs}
