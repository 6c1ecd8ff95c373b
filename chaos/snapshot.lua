-- snapshot(ready, suspects, leases, dead, bell, index prefix, record prefix)
--   -> {ready, suspects, leases, dead, bell length, {tenant, {job, ...}, ...}, {job, fields, ...}}
--
-- The whole control plane at one moment, without its texts; of an ending only the error's code. It walks every
-- key there is, which no script of the product may do.

local function members(key) return redis.call('ZRANGE', key, 0, -1) end

local indexes, records = {}, {}
for _, key in ipairs(redis.call('KEYS', ARGV[6] .. '*')) do
  indexes[#indexes + 1] = key:sub(#ARGV[6] + 1)
  indexes[#indexes + 1] = members(key)
end
for _, key in ipairs(redis.call('KEYS', ARGV[7] .. '*')) do
  local flat = {}
  for _, name in ipairs({'status', 'tenant', 'attempt', 'crashes'}) do
    flat[#flat + 1] = name
    flat[#flat + 1] = redis.call('HGET', key, name) or ''
  end
  local ending = cjson.decode(redis.call('HGET', key, 'ending') or '{}')
  flat[#flat + 1] = 'code'
  flat[#flat + 1] = ending.error and ending.error.code or ''
  records[#records + 1] = key:sub(#ARGV[7] + 1)
  records[#records + 1] = flat
end
return {members(ARGV[1]), members(ARGV[2]), members(ARGV[3]), members(ARGV[4]),
  redis.call('LLEN', ARGV[5]), indexes, records}
