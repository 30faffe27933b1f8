-- Compiles and runs Lua; bench/programs/lua.py says what for.
-- usage: work.lua SOURCE ROUNDS: the file is compiled and its functions are called, ROUNDS times.
-- Nothing printed depends on the order of `pairs`, which changes from run to run.

local path, rounds = arg[1], tonumber(arg[2])
local file <close> = assert(io.open(path, "r"))
local source = file:read("a")

-- The reader hands the source over in pieces, as for a file that is larger than a buffer.
local function compile(name)
  local at = 1
  local function piece()
    local text = source:sub(at, at + 4095)
    at = at + 4096
    return text
  end
  return assert(load(piece, name, "t"))()
end

local function hash(text, start)
  local sum = start or 5381
  for i = 1, #text do sum = (sum * 33 + text:byte(i)) & 0xffffffff end
  return sum
end

-- A compiled chunk becomes a string, is loaded again, and must do the same.
local function reload(functions)
  local sum = 0
  for i = 1, #functions do
    local copy = assert(load(string.dump(functions[i]), "copy", "b"))
    assert(copy(i) == functions[i](i))
    sum = sum + copy(i)
  end
  return sum
end

-- Objects that refer to each other, with closures and growing tables.
local Node = {}
Node.__index = Node

function Node.new(key, value)
  return setmetatable({ key = key, value = value }, Node)
end

function Node:insert(key, value)
  local side = key < self.key and "left" or "right"
  if key == self.key then self.value = value
  elseif self[side] then self[side]:insert(key, value)
  else self[side] = Node.new(key, value) end
end

function Node:walk(visit)
  if self.left then self.left:walk(visit) end
  visit(self.key, self.value)
  if self.right then self.right:walk(visit) end
end

local function tree(count)
  local root, number = Node.new("m", "0"), 1
  for i = 1, count do
    number = (number * 1103515245 + 12345) & 0x7fffffff
    root:insert(string.format("%08x", number), tostring(i))
  end
  local keys = {}
  root:walk(function(key, value) keys[#keys + 1] = key .. "=" .. value end)
  return hash(table.concat(keys, ","))
end

-- Text is taken apart and put together.
local function words()
  local counts, order = {}, {}
  for word in source:sub(1, 200000):gmatch("%a+") do
    if not counts[word] then order[#order + 1] = word end
    counts[word] = (counts[word] or 0) + 1
  end
  table.sort(order)
  local lines = {}
  for i, word in ipairs(order) do lines[i] = word:upper():rep(2, "-") .. counts[word] end
  local text = table.concat(lines, "\n"):gsub("(%a)(%d)", "%2%1")
  return hash(text)
end

local function produce(count)
  return coroutine.wrap(function()
    for i = 1, count do coroutine.yield({ i, tostring(i), { i % 7 } }) end
  end)
end

local function coroutines(count)
  local sum = 0
  for _ = 1, count do
    for item in produce(10) do sum = sum + item[1] + #item[2] + item[3][1] end
  end
  return sum
end

for round = 1, rounds do
  local functions = compile("round" .. round)
  local sum = 0
  for i = 1, #functions do sum = sum + functions[i](round) end
  print(round, #functions, sum, reload(functions), tree(6000), words(), coroutines(3000))
end
