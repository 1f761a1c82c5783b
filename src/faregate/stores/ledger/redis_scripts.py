"""The Lua that Redis and Valkey run for the ledger: each script is one atomic step over a batch of records.

Per record a hash, ``{prefix}:r:<key in hex>``: ``s`` state, ``a`` attempt, ``f`` fingerprint, ``c`` changed
at, ``k`` keep_s, ``r`` resolves, ``b`` about, ``t`` tries, ``x`` expires at, ``w`` answer, ``y`` by, ``n``
note; times in milliseconds of the server's clock. Four sorted sets hold the keys in hex: ``open`` (CLAIMED
and SENT, by the end of their lease), ``due`` (UNKNOWN, by their next query), ``since`` (UNKNOWN, by the time
they became so), ``done`` (COMPLETED, by expiry). A hash that is COMPLETED or RELEASED expires by itself; one
that is SENT or UNKNOWN never.
"""

import hashlib
from typing import Final

from faregate.stores.ledger.protocol import LEASE_S

SETS: Final = ("open", "due", "since", "done")
RELEASED_MS: Final = 60_000
"""How long the trace of a released attempt stays, against commands of it that come late."""
SWEEP_MOST: Final = 500
SCAN_COUNT: Final = 2_000

# KEYS: the four sets, then records where a script names any; ARGV[1]: what records' names begin with.
_HEAD: Final = f"""
local OPEN, DUE, SINCE, DONE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local LEASE, TRACE = {int(LEASE_S * 1000)}, {RELEASED_MS}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function int(n) return string.format('%.0f', n) end
local function unknown(record, hex, since, resolves)
  redis.call('HSET', record, 's', '5', 'c', int(since))
  redis.call('ZADD', DUE, resolves == '1' and int(since + 1000) or '+inf', hex)
  redis.call('ZADD', SINCE, int(since), hex)
end
-- state, attempt, fingerprint, changed at, keep, resolves; no state: absent. What has lapsed is moved first.
local function look(record, hex)
  local is = redis.call('HMGET', record, 's', 'a', 'f', 'c', 'k', 'r')
  if is[1] == '1' or is[1] == '2' then
    local ends = tonumber(redis.call('ZSCORE', OPEN, hex) or '0')
    if ends <= now then
      redis.call('ZREM', OPEN, hex)
      if is[1] == '1' then
        redis.call('DEL', record)
        return {{}}
      end
      unknown(record, hex, ends > 0 and ends or now, is[6])
      is[1], is[4] = '5', ends > 0 and ends or now
    end
  end
  return is
end
local function settle(record, hex, is, state, answer)
  if is[1] == '5' then
    redis.call('ZREM', DUE, hex)
    redis.call('ZREM', SINCE, hex)
  else
    redis.call('ZREM', OPEN, hex)
  end
  if state == '3' then
    local ends = now + is[5] * 1000
    redis.call('HSET', record, 's', '3', 'c', int(now), 'x', int(ends), 'w', answer)
    redis.call('PEXPIREAT', record, int(ends))
    redis.call('ZADD', DONE, int(ends), hex)
  elseif state == '4' then
    redis.call('DEL', record)
    redis.call('HSET', record, 's', '4', 'a', is[2])
    redis.call('PEXPIRE', record, TRACE)
  else
    unknown(record, hex, now, is[6])
  end
end
"""

# Per record 7: hex, attempt, fingerprint, keep_s, resolves, about, state. A number: a Standing without more.
_CLAIM: Final = """
local out = {}
for i = 5, #KEYS do
  local record, at = KEYS[i], 2 + (i - 5) * 7
  local hex, attempt, wanted = ARGV[at], ARGV[at + 1], ARGV[at + 6]
  local is = look(record, hex)
  local state = is[1]
  if not state or (state == '4' and is[2] ~= attempt) then
    if state then redis.call('DEL', record) end
    redis.call('HSET', record, 's', wanted, 'a', attempt, 'f', ARGV[at + 2], 'c', int(now), 'k', ARGV[at + 3],
      'r', ARGV[at + 4], 'b', ARGV[at + 5])
    redis.call('ZADD', OPEN, int(now + LEASE), hex)
    out[i - 4] = 1
  elseif is[2] == attempt and state ~= '3' and state ~= '4' then -- whoever asks again has not sent yet
    if state == '5' then
      redis.call('ZREM', DUE, hex)
      redis.call('ZREM', SINCE, hex)
      redis.call('ZADD', OPEN, int(now + LEASE), hex)
    end
    if state == '5' or state < wanted then redis.call('HSET', record, 's', wanted, 'c', int(now)) end
    out[i - 4] = 1
  elseif state == '4' then
    out[i - 4] = 8
  else
    local kind = state == '3' and 5 or state == '5' and 3 or 2
    if is[3] ~= ARGV[at + 2] then kind = 4 end
    out[i - 4] = {kind, is[2], kind == 5 and redis.call('HGET', record, 'w') or '', int(now - is[4])}
  end
end
return out
"""

# Per record 2: hex, attempt.
_MARK: Final = """
local out = {}
for i = 5, #KEYS do
  local record, at = KEYS[i], 2 + (i - 5) * 2
  local is = look(record, ARGV[at])
  if is[2] == ARGV[at + 1] and (is[1] == '1' or is[1] == '2') then
    if is[1] == '1' then redis.call('HSET', record, 's', '2', 'c', int(now)) end
    out[i - 4] = 6
  else
    out[i - 4] = 7
  end
end
return out
"""

# Per record 4: hex, attempt, state ('w': released, and a trace of it where the record is absent), answer.
_SETTLE: Final = """
local out = {}
for i = 5, #KEYS do
  local record, at = KEYS[i], 2 + (i - 5) * 4
  local hex, attempt, state = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local is = look(record, hex)
  local withdrawn = state == 'w'
  if withdrawn then state = '4' end
  if not is[1] then
    if withdrawn then
      redis.call('HSET', record, 's', '4', 'a', attempt)
      redis.call('PEXPIRE', record, TRACE)
    end
    out[i - 4] = state == '4' and 6 or 7
  elseif is[2] ~= attempt or (is[1] ~= state and (is[1] == '3' or is[1] == '4')) then
    out[i - 4] = (is[1] == '4' and state == '4') and 6 or 7
  else
    if is[1] ~= state then settle(record, hex, is, state, ARGV[at + 3]) end
    out[i - 4] = 6
  end
end
return out
"""

# Per record 2: hex, attempt.
_RENEW: Final = """
for i = 5, #KEYS do
  local at = 2 + (i - 5) * 2
  local is = look(KEYS[i], ARGV[at])
  if is[2] == ARGV[at + 1] and (is[1] == '1' or is[1] == '2') then
    redis.call('ZADD', OPEN, 'XX', int(now + LEASE), ARGV[at])
  end
end
return 1
"""

_SWEEP_BODY: Final = f"""
local lapsed = redis.call('ZRANGEBYSCORE', OPEN, '-inf', int(now), 'LIMIT', 0, {SWEEP_MOST})
for _, hex in ipairs(lapsed) do
  local is = look(ARGV[1] .. hex, hex)
  if not is[1] then redis.call('ZREM', OPEN, hex) end
end
local over = redis.call('ZRANGEBYSCORE', DONE, '-inf', int(now), 'LIMIT', 0, {SWEEP_MOST})
if #over > 0 then redis.call('ZREM', DONE, unpack(over)) end
"""
_SWEEP: Final = f"{_SWEEP_BODY}\nreturn (#lapsed == {SWEEP_MOST} or #over == {SWEEP_MOST}) and 1 or 0\n"

# ARGV[2]: at most so many. Their hex; each is the asker's for a lease.
_DUE: Final = f"""{_SWEEP_BODY}
local due = redis.call('ZRANGEBYSCORE', DUE, '-inf', int(now), 'LIMIT', 0, tonumber(ARGV[2]))
for _, hex in ipairs(due) do redis.call('ZADD', DUE, int(now + LEASE), hex) end
return due
"""

# ARGV: prefix, hex, attempt, after_s in milliseconds.
_DEFER: Final = """
local is = look(KEYS[5], ARGV[2])
if is[1] == '5' and is[2] == ARGV[3] then
  redis.call('HINCRBY', KEYS[5], 't', 1)
  redis.call('ZADD', DUE, int(now + ARGV[4]), ARGV[2])
end
return 1
"""

# ARGV: prefix, hex, attempt, state, answer, by, note, again.
_DECIDE: Final = """
local is = look(KEYS[5], ARGV[2])
if is[2] ~= ARGV[3] then return 0 end
if is[1] == '5' then
  settle(KEYS[5], ARGV[2], is, ARGV[4], ARGV[5])
  redis.call('HSET', KEYS[5], 'y', ARGV[6], 'n', ARGV[7])
  return 1
end
local was = redis.call('HMGET', KEYS[5], 'y', 'n')
return (ARGV[8] == '1' and is[1] == ARGV[4] and was[1] == ARGV[6] and was[2] == ARGV[7]) and 1 or 0
"""

# ARGV: prefix, number of the set, cursor, and two hex that bound what is wanted. The next cursor, and what is
# between the two in this part of the set.
_SCAN: Final = f"""
local part = redis.call('ZSCAN', KEYS[tonumber(ARGV[2])], ARGV[3], 'COUNT', {SCAN_COUNT})
local out = {{part[1]}}
for i = 1, #part[2], 2 do
  if part[2][i] > ARGV[4] and part[2][i] < ARGV[5] then out[#out + 1] = part[2][i] end
end
return out
"""

# Records as they stand; those that are absent are false.
_READ: Final = """
local out = {}
for i = 5, #KEYS do
  local is = look(KEYS[i], ARGV[i - 3])
  out[i - 4] = false
  if is[1] and is[1] ~= '4' then
    out[i - 4] = redis.call('HMGET', KEYS[i], 's', 'a', 'f', 'b', 'c', 'x', 'r', 't', 'y', 'n', 'w')
  end
end
return out
"""

# How many are COMPLETED, in flight, UNKNOWN, and the age of the oldest of these.
_FIGURES: Final = f"""{_SWEEP_BODY}
local first = redis.call('ZRANGE', SINCE, 0, 0, 'WITHSCORES')
local kept = redis.call('ZCOUNT', DONE, '(' .. int(now), '+inf')
local age = first[2] and int(now - first[2]) or '0'
return {{kept, redis.call('ZCARD', OPEN), redis.call('ZCARD', SINCE), age}}
"""


class Script:
    """A script and the name that the server finds it by."""

    def __init__(self, body: str) -> None:
        self.text = (_HEAD + body).encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


CLAIM_SCRIPT: Final = Script(_CLAIM)
MARK_SCRIPT: Final = Script(_MARK)
SETTLE_SCRIPT: Final = Script(_SETTLE)
RENEW_SCRIPT: Final = Script(_RENEW)
SWEEP_SCRIPT: Final = Script(_SWEEP)
DUE_SCRIPT: Final = Script(_DUE)
DEFER_SCRIPT: Final = Script(_DEFER)
DECIDE_SCRIPT: Final = Script(_DECIDE)
SCAN_SCRIPT: Final = Script(_SCAN)
READ_SCRIPT: Final = Script(_READ)
FIGURES_SCRIPT: Final = Script(_FIGURES)
