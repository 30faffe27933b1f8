# perl: hashes, strings that grow, regular expressions, sorting, and a fork.
use strict;
use warnings;

my $state = 1;
sub random_below
{
    $state = ($state * 1103515245 + 12345) % 2147483648;
    return int($state / 65536) % $_[0];
}

my $checksum = 0;
my %table;
for my $step (1 .. 300_000) {
    my $key = 'key' . random_below(20_000);
    if (exists $table{$key} && random_below(3) == 0) { delete $table{$key} }
    else { push @{ $table{$key} }, 'v' x random_below(60) }
}
for my $key (sort keys %table) {
    my $line = "$key:" . join ',', map { length } @{ $table{$key} };
    $checksum = (unpack('%32C*', $line) + $checksum * 31) % 4294967296;
}
print scalar(keys %table), " keys, checksum $checksum\n";

my $text = join ' ', map { 'word' . random_below(5000) } 1 .. 200_000;
my %count;
$count{$1}++ while $text =~ /(\w+)/g;
(my $longer = $text) =~ s/word(\d+)/<$1>/g;
my @order = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
print "@order[0 .. 9] ", length($longer), "\n";

my $pid = open(my $child, '-|') // die "fork: $!";
if ($pid == 0) {
    my @squares = map { $_ * $_ } 1 .. 100_000;
    print scalar(@squares), " $squares[-1]\n";
    exit 0;
}
print "child: $_" while <$child>;
close $child or die "child: $?";
