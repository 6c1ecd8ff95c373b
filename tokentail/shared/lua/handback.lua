-- handback(id, fence, reason, delay_ms, counter, floor)
--   -> 'queued' | 'cancel' | 'lost'
--
-- Gives a running job back to the queue, to be claimed after the delay, with a fence above `floor`.
-- 'cancel': it is not given back because somebody asked to cancel it; its owner has to end it (but for
-- reason 'lost': its owner may not). 'lost': it was not this attempt's any more. If that is because its
-- lease lapsed, the lapse no longer counts as a crash: who can say so is alive.
--
-- KEYS[1] ready     zset: queued jobs by the ms at which they may be claimed
-- KEYS[2] suspects  zset: the same for queued jobs that have crashed
-- KEYS[3] leases    zset: running jobs
-- KEYS[4] bell      list: at most one push
-- KEYS[5] record    hash; `counter` is its field that counts why jobs come back (tries, handoffs)

local id, delay, floor = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[6])

despite_full_memory()
local now = now_ms()
local state = redis.call('HMGET', KEYS[5], 'status', 'fence', 'cancel', 'created', 'lapsed')
if state[1] ~= 'running' or state[2] ~= ARGV[2] then
  if state[5] == ARGV[2] and (state[1] == 'queued' or state[1] == 'running') then
    acquit(KEYS[1], KEYS[2], id, KEYS[5], now)
  end
  return 'lost'
end
if state[3] and ARGV[3] ~= 'lost' then
  return 'cancel'
end

redis.call('HSET', KEYS[5], 'status', 'queued', 'reason', ARGV[3], 'owner', '')
if floor > tonumber(state[2]) then
  redis.call('HSET', KEYS[5], 'fence', whole(floor))
end
if ARGV[5] ~= '' then
  redis.call('HINCRBY', KEYS[5], ARGV[5], 1)
end
redis.call('ZREM', KEYS[3], id)
-- Without a delay by its creation: a job that was running already goes before those that never ran.
queue_up(KEYS[1], KEYS[2], id, KEYS[5], delay > 0 and now + delay or state[4], now)
-- Also for a delayed job: an idle worker that is woken learns from its claim when to look again.
ring(KEYS[4])
return 'queued'
