-- Takes one token from every bucket in KEYS, or from none.
-- ARGV holds interval and burst of each bucket, in microseconds. A bucket is the time at which it is full again.
-- Answers {wait, now}: a wait of 0 means taken. The clock is Redis's own, so that workers whose clocks differ agree.
local time = redis.call('time')
local now = time[1] * 1000000 + time[2]
local wait, full_at = 0, {}
for i, key in ipairs(KEYS) do
  local interval, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local at = tonumber(redis.call('get', key) or now)
  -- Never behind now (a bucket cannot be fuller than full), and never further ahead than taking can bring it
  -- (it is, if the clock was set back or the rate was raised).
  at = math.min(math.max(at, now), now + burst + interval)
  wait = math.max(wait, at - now - burst)
  full_at[i] = at + interval
end
if wait == 0 then
  for i, key in ipairs(KEYS) do
    redis.call('set', key, string.format('%.0f', full_at[i]), 'PX', math.ceil((full_at[i] - now) / 1000))
  end
end
return { wait, now }
