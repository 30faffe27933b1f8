# Serves made-up requests in threads; bench/programs/rbstress.py says what for.
# usage: work.rb SEED REQUESTS

# not 'digest', which loads SHA256 at its first use: threads that come at once break that
require 'digest/sha2'

THREADS = 4
RECORDS_KEPT = 3000
RECORDS_PER_REQUEST = 25
WORDS = %w[page block slice arena heap list thread free remote owner class size tail chunk].freeze

Record = Struct.new(:id, :title, :tags, :notes) do
  def changed(random)
    Record.new(id, "#{title[0, 60]} #{WORDS.sample(random: random)}", tags.rotate,
               notes.merge(random.rand(9) => "note #{random.rand(1000)} " * 3))
  end
end

# The records of one thread, in the order in which they were last changed.
class Store
  def initialize
    @records = {}
  end

  def take(id)
    @records.delete(id) || Record.new(id, "record number #{id}", WORDS.first(2 + id % 9), {})
  end

  def put(record)
    @records[record.id] = record
    @records.shift if @records.size > RECORDS_KEPT
  end

  def summary
    @records.values.map { |record| [record.id, record.title.size, record.notes.size].join(':') }
            .sort.join(',')
  end
end

def render(records)
  rows = records.map do |record|
    cells = record.tags.map { |tag| "<li>#{tag.capitalize}</li>" }.join
    notes = record.notes.sort.map { |key, text| "#{key}=#{text.strip}" }.join(';')
    "<tr id='r#{record.id}'><td>#{record.title}</td>" \
      "<td><ul>#{cells}</ul></td><td>#{notes}</td></tr>"
  end
  "<table>\n#{rows.join("\n")}\n</table>"
end

def parse(page)
  found = Hash.new { |hash, tag| hash[tag] = [] }
  page.scan(/<(\w+)[^>]*>([^<]*)/) { |tag, text| found[tag] << text unless text.empty? }
  found
end

def serve(seed, requests)
  random = Random.new(seed)
  store = Store.new
  digest = Digest::SHA256.new
  requests.times do
    records = Array.new(RECORDS_PER_REQUEST) { store.take(random.rand(2 * RECORDS_KEPT)) }
    changed = records.map { |record| record.changed(random) }
    changed.each { |record| store.put(record) }
    page = render(changed)
    digest.update(page)
    digest.update(parse(page).map { |tag, texts| "#{tag}#{texts.size}#{texts.last}" }.join)
  end
  digest.update(store.summary)
  digest.hexdigest
end

seed, requests = ARGV.map(&:to_i)
threads = Array.new(THREADS) { |number| Thread.new { serve(seed * 100 + number, requests) } }
puts threads.map(&:value)
