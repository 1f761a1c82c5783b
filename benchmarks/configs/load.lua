-- Sends the calls of a file (benchmarks/calls.py) in order, each once, then stops; says in JSON what came back.
local ffi = require("ffi")
ffi.cdef("int getpid(void); int kill(int pid, int signal);")
local calls, count, index, finished = {}, 0, 0, false

function init(args)
  local file = assert(io.open(args[1], "rb"))
  while true do
    local length = file:read("*l")
    if not length then break end
    count = count + 1
    calls[count] = file:read(tonumber(length))
  end
  file:close()
end

function request()
  index = index + 1
  if index > count then
    index = 1
    if not finished then
      -- wrk's main thread sleeps for the whole -d; its handler of SIGINT (2) ends the run early and prints the summary.
      finished = true
      wrk.thread:stop()
      ffi.C.kill(ffi.C.getpid(), 2)
    end
  end
  return calls[index]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"calls":%d,"duration_us":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, errors.connect, errors.read, errors.write, errors.status, errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
