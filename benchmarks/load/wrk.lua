-- Posts the lines of a file, one after another, each as a body; says at the end what was seen, as one line of JSON.
local requests, number = {}, 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, nil, line)
  end
end

function request()
  number = number % #requests + 1
  return requests[number]
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    'WRK {"requests": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, '
      .. '"refused": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout
  ))
end
