# ruby: hashes, strings, threads and the garbage collector.
require 'digest'

random = Random.new(7)
table = {}
300_000.times do |step|
  key = "key#{random.rand(20_000)}"
  if table.key?(key) && random.rand(3).zero?
    table.delete(key)
  else
    (table[key] ||= []) << 'v' * random.rand(60)
  end
  GC.start if (step % 100_000).zero?
end
text = table.sort.map { |key, values| "#{key}:#{values.map(&:size).join(',')}" }.join("\n")
puts "#{table.size} keys #{Digest::SHA256.hexdigest(text)}"

results = 8.times.map do |index|
  Thread.new do
    texts = (1..20_000).map { |number| (number * index).to_s }
    texts.join('-').size
  end
end.map(&:value)
puts results.inspect
puts (1..400).inject(:*).to_s.size
