-- Stands before every script of the control plane: what more than one of them does.

-- Redis's clock, never a host's: leases of all workers are measured by one clock. To be asked once per script:
-- it goes on while a script runs.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- tostring writes 1.7e+12.
local function whole(number)
  return string.format('%.0f', number)
end

-- One push is enough: a worker that claims and leaves ripe jobs behind rings again.
local function ring(bell)
  if redis.call('LLEN', bell) == 0 then
    redis.call('LPUSH', bell, '1')
  end
end

-- Jobs per second that leave the queue, by now: what was counted decays over tau seconds.
local function pace_now(pace, tau, now)
  local state = redis.call('HMGET', pace, 'at', 'rate')
  local passed = math.max(0, now - (state[1] or now)) / 1000
  return (state[2] or 0) * math.exp(-passed / tau)
end

-- A Redis that is out of memory refuses a script's first write if that needs memory, but none of the later
-- ones (script.c: SCRIPT_WRITE_DIRTY; in 6.2 lua_write_dirty). New jobs are refused then; what keeps and
-- ends those that run may not be, so it begins with a write that needs none.
local function despite_full_memory()
  redis.call('DEL', 'tt:{q}:none')
end

-- A job that has crashed is a suspect and waits apart, for a worker that runs it alone; one that has been
-- found out is not run again and needs no such care.
local function queue_up(ready, suspects, id, record, score, now)
  local state = redis.call('HMGET', record, 'crashes', 'poison')
  if state[1] == '0' or state[2] then
    redis.call('ZADD', ready, score, id)
  else
    -- Never in the past: how long it has waited tells who may take it.
    redis.call('ZADD', suspects, math.max(score, now), id)
  end
end

-- Its owner was taken for dead, and is not: the crash was none.
local function acquit(ready, suspects, id, record, now)
  local due = redis.call('ZSCORE', ready, id) or redis.call('ZSCORE', suspects, id)
  -- Who waits for its verdict, or for a worker of its own, waits no more; who was to be tried later still is.
  if due and (tonumber(due) <= now or redis.call('HGET', record, 'poison')) then
    due = redis.call('HGET', record, 'created')
  end
  redis.call('HINCRBY', record, 'crashes', -1)
  redis.call('HDEL', record, 'lapsed', 'poison')
  if due then
    redis.call('ZREM', ready, id)
    redis.call('ZREM', suspects, id)
    queue_up(ready, suspects, id, record, due, now)
  end
end

-- A job that has crashed so often is the cause, in whatever company.
local MOST_CRASHES = 5

-- Returns lapsed leases to the queue. A job that crashed alone has been found out; of jobs that crashed
-- together nobody knows which it was. Who is found out waits for verdict_ms before it is ended: its owner may
-- only have been cut off, and about to say so.
local function return_lapsed(ready, suspects, leases, records, alones, verdict_ms, now)
  -- Bounded, so that a mass crash does not stall Redis; what is left lapses in the next call.
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', leases, id)
    local record = records .. id
    local state = redis.call('HMGET', record, 'status', 'owner', 'fence', 'lost_workers')
    if state[1] == 'running' then
      redis.call('HSET', record, 'status', 'queued', 'reason', 'lost', 'owner', '',
        'lapsed', state[3], 'lost_workers', (state[4] or '') .. state[2] .. ' ')
      local score = now
      local crashes = redis.call('HINCRBY', record, 'crashes', 1)
      -- An owner that was taken for dead may have said since that it lives: then this crash is the first.
      if crashes >= MOST_CRASHES or crashes > 1 and redis.call('GET', alones .. state[2]) == id then
        redis.call('HSET', record, 'poison', '1')
        score = now + verdict_ms
      end
      queue_up(ready, suspects, id, record, score, now)
    end
  end
end

-- Ends a queued job: the record gets the ending and a fence for it, and is marked `unlogged` until its log
-- holds the ending too.
local function end_in_queue(now, ready, suspects, id, record, request, status, ending, log_ttl, record_ttl)
  local state = redis.call('HMGET', record, 'fence', 'idem')
  local fence = whole(math.max(state[1] + 1, now))
  redis.call('ZREM', ready, id)
  redis.call('ZREM', suspects, id)
  redis.call('HSET', record, 'status', status, 'fence', fence, 'cursor', fence .. '-0', 'ending', ending,
    'ended', whole(now), 'unlogged', '1')
  redis.call('HDEL', record, 'envelope')
  redis.call('PEXPIRE', request, log_ttl)
  redis.call('PEXPIRE', record, record_ttl)
  if state[2] then
    redis.call('PEXPIRE', state[2], record_ttl)
  end
end
