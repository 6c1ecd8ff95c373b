-- append(id, event, ttl_ms) -> {'written', bytes} | {'ended', id, event} | {'fenced', id, event} | {'gap'}
--
-- Appends an entry that opens or ends an attempt, unless the log has ended ('ended': the ending that
-- is there), a later entry is there ('fenced'), or the entry before it is not ('gap': Redis has come back
-- without the end of the log). Saying it again after a lost reply is harmless. `bytes` is the memory that
-- the log took before an opening.
-- The entries between go by plain XADD: their ids alone keep a stale writer out once an entry with a
-- higher fence is there; what they can't do is look whether the last entry is an ending.
--
-- KEYS[1] log  stream; entries '<fence>-<seq>', one field 'e' whose JSON begins with its type

local function ends(event)
  local kind = event:match('^{"type":"(%a+)"')
  return kind == 'completed' or kind == 'failed' or kind == 'cancelled'
end

local my_fence, my_seq = ARGV[1]:match('^(%d+)-(%d+)$')
local opens = my_seq == '0'
local follows = opens

local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last and last[1] ~= ARGV[1] then
  local there, event = last[1], last[2][2]
  if ends(event) then
    return {'ended', there, event}
  end
  local fence, seq = there:match('^(%d+)-(%d+)$')
  if tonumber(fence) > tonumber(my_fence)
    or (fence == my_fence and tonumber(seq) > tonumber(my_seq)) then
    return {'fenced', there, event}
  end
  follows = follows or (fence == my_fence and tonumber(seq) + 1 == tonumber(my_seq))
end

local bytes = opens and redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 0) or 0

if not last or last[1] ~= ARGV[1] then
  if not follows then
    return {'gap'}
  end
  -- A Redis that is out of memory refuses a script's first write if it takes any, and then none. So that a
  -- job can begin, which is how it learns of that, and end there, this one, which takes none, is the first.
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('XADD', KEYS[1], ARGV[1], 'e', ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'written', bytes}
