// Calls everything that the SDK has, a part of it by config { mode = "..." }: the SDK's own test, not an example.
package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"sluice"
)

type calls struct {
	mode string
	seen map[string]int
	data []byte
}

func init() { sluice.Register(&calls{seen: map[string]int{}}) }

func main() {}

func (p *calls) Init(config []byte) (sluice.Manifest, error) {
	c := sluice.ParseConfig(config)
	p.mode = c.Text("mode", "")
	switch p.mode {
	case "asset":
		data, err := sluice.Asset("a")
		if err != nil {
			return sluice.Manifest{}, err
		}
		p.data = data
	case "no-batch":
		var none sluice.Batch
		none.U8s(sluice.Proto)
		say(none.Err(), sluice.ErrNoBatch)
	case "panic-in-init":
		panic("nothing works: für niemanden")
	}
	return sluice.Manifest{
		Name:    "calls",
		Version: "0.1.0",
		Reads: []sluice.Column{
			sluice.Proto, sluice.SrcPort, sluice.DstPort, sluice.SrcAS, sluice.Bytes, sluice.SrcAddr, sluice.DstAddr,
			sluice.SrcCountry, sluice.ASPath, sluice.TTL, sluice.Packets, sluice.CustomerID,
		},
		Writes: []sluice.Column{
			sluice.SrcPort, sluice.DstPort, sluice.SrcAS, sluice.Bytes, sluice.SrcAddr, sluice.DstAddr, sluice.Note,
			sluice.ASPath, sluice.CustomerID, sluice.Direction,
		},
	}, c.Err()
}

func (p *calls) Process(b *sluice.Batch) error {
	switch p.mode {
	case "numbers":
		return numbers(b)
	case "texts":
		return p.texts(b)
	case "lists":
		return lists(b)
	case "addresses":
		return addresses(b)
	case "routes":
		return routes(b)
	case "kernels":
		return kernels(b)
	case "truncate":
		return truncate(b)
	case "groups":
		return groups(b)
	case "groups_big":
		return groupsBig(b)
	case "groups_keep":
		groupsKeep(b)
	case "groups_many":
		groupsMany(b)
	case "groups_route":
		groupsRoute(b)
	case "groups_none":
		return groupsNone(b)
	case "groups_absent":
		return groupsAbsent(b)
	case "groups_denied":
		return groupsDenied(b)
	case "absent":
		return absent(b)
	case "denied":
		return denied(b)
	case "refused":
		b.SetU8s(sluice.TTL, b.U8s(sluice.TTL)) // and nobody asks b.Err()
	case "alert":
		sluice.Alert{
			Kind: "test-raised", Severity: 4, Subject: "2001:db8::1", Value: 1.5, Threshold: 1, Note: "zu groß: 1,5 GB → ☃ 😀",
		}.Emit()
	case "not-utf8":
		sluice.Log(sluice.LevelWarn, "a\xffb")
		sluice.Alert{Kind: "k\xff", Subject: "\xc3", Note: "\xff\xff"}.Emit()
		b.SetTexts(sluice.Note, sluice.Texts{Words: []string{"", "n\xff"}, Codes: make([]uint32, b.Rows())})
		return errors.New("e\xff")
	case "log":
		sluice.Log(sluice.LevelWarn, "warned")
		sluice.Logf(sluice.LevelInfo, "%d rows at %s", b.Rows(), "Zürich")
		sluice.Gauge("rows", float64(b.Rows()))
	case "error":
		return errors.New("row 3 makes no sense: ☃")
	case "later":
		return sluice.RetryLater(errors.New("the table is not there yet"))
	case "panic":
		_ = b.U8s(sluice.Proto)[b.Rows()]
	case "garbage":
		p.garbage(b)
	case "goroutines":
		goroutines(b)
	case "stuck":
		<-make(chan bool)
	case "prints":
		fmt.Println("to standard output")
		fmt.Fprintln(os.Stderr, "to standard error")
	case "table":
		return table(b)
	case "values":
		return values(b)
	case "key":
		return key(b)
	case "asset":
		sluice.Count("asset_bytes", uint32(len(p.data)))
		sluice.Log(sluice.LevelInfo, "asset "+string(p.data[:min(len(p.data), 40)]))
	}
	return nil
}

// numbers writes each kind of column, made of another.
func numbers(b *sluice.Batch) error {
	proto, port, as, bytes := b.U8s(sluice.Proto), b.U16s(sluice.SrcPort), b.U32s(sluice.SrcAS), b.U64s(sluice.Bytes)
	for row := range b.Rows() {
		proto[row], port[row], as[row], bytes[row] = proto[row]+1, port[row]+1, as[row]+1, bytes[row]+1
	}
	b.SetU8s(sluice.Direction, proto)
	b.SetU16s(sluice.SrcPort, port)
	b.SetU32s(sluice.SrcAS, as)
	b.SetU64s(sluice.Bytes, bytes)
	b.Clear(sluice.DstPort)
	return nil
}

// texts counts words across batches, and writes them with another ending.
func (p *calls) texts(b *sluice.Batch) error {
	countries := b.Texts(sluice.SrcCountry)
	words := make([]string, len(countries.Words))
	for i, word := range countries.Words {
		p.seen[word]++
		if word != "" {
			words[i] = word + "-é"
		}
	}
	for row := range b.Rows() {
		if countries.At(row) == "XX" {
			return errors.New("row " + strconv.Itoa(row) + " is from XX")
		}
	}
	b.SetTexts(sluice.Note, sluice.Texts{Words: words, Codes: countries.Codes})
	sluice.Gauge("words", float64(len(p.seen)))
	return nil
}

// lists reverses each list.
func lists(b *sluice.Batch) error {
	paths := b.Lists(sluice.ASPath)
	for row := range b.Rows() {
		path := paths.At(row)
		for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
			path[i], path[j] = path[j], path[i]
		}
	}
	b.SetLists(sluice.ASPath, paths)
	return nil
}

// addresses exchanges source and destination, and keeps sources in 192.0.2.0/24 and 2001:db8::/32.
func addresses(b *sluice.Batch) error {
	source, destination := b.Addrs(sluice.SrcAddr), b.Addrs(sluice.DstAddr)
	v4, v6 := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")
	keep := b.Bitmap()
	for row := range b.Rows() {
		if addr := netip.AddrFrom16(source.At(row)).Unmap(); v4.Contains(addr) || v6.Contains(addr) {
			keep.Set(row)
		}
	}
	b.SetAddrs(sluice.SrcAddr, destination)
	b.SetAddrs(sluice.DstAddr, source)
	b.Keep(keep)
	return nil
}

// routes sends even ports one way and odd ports another.
func routes(b *sluice.Batch) error {
	index := make([]uint16, b.Rows())
	for row, port := range b.U16s(sluice.DstPort) {
		index[row] = port % 2
	}
	b.Route([]string{"even", "odd"}, index)
	return nil
}

// kernels keeps TCP and UDP of more than 100 bytes from 192.0.2.0/24 that is not to port 22.
func kernels(b *sluice.Batch) error {
	prefix := netip.MustParsePrefix("192.0.2.0/24")
	keep := b.TestIn(sluice.Proto, []uint64{6, 17})
	keep.And(b.TestAll(
		sluice.Comparison{Column: sluice.Bytes, Op: sluice.Gt, Value: 100},
		sluice.Comparison{Column: sluice.Proto, Op: sluice.Ge, Value: 6},
	))
	keep.And(b.TestPrefix(sluice.SrcAddr, prefix.Addr().As16(), uint8(96+prefix.Bits())))
	keep.AndNot(b.Test(sluice.DstPort, sluice.Eq, 22))
	b.FillU32(sluice.SrcAS, keep, 64496)
	sluice.Count("bytes", uint32(b.Sum(sluice.Bytes, keep)))
	b.Keep(keep)
	return nil
}

// truncate leaves 16 bits of an IPv4 address and 32 of another, and writes which it was.
func truncate(b *sluice.Batch) error {
	before, other := b.Truncate(sluice.SrcAddr, 32, 128)
	v4, v6 := b.Truncate(sluice.SrcAddr, 16, 32)
	if v4.Count() != before.Count() || v6.Count() != other.Count() {
		return errors.New("truncation changes no family")
	}
	b.Fill(sluice.Bytes, v4, 1<<40)
	b.Fill(sluice.Bytes, v6, 6)
	b.Fill(sluice.DstPort, v6, 6)
	none, nobody := b.Truncate(sluice.DstAddr, 0, 0)
	sluice.Count("absent", uint32(none.Count()+nobody.Count()))
	return nil
}

// checks are what is compared, by what it is.
type checks struct{ err error }

// check counts what is as it should be; the first that is not is an error.
func check[T comparable](c *checks, what string, got []T, want ...T) {
	if slices.Equal(got, want) {
		sluice.Count("right", 1)
	} else if c.err == nil {
		c.err = fmt.Errorf("%s: %v, not %v", what, got, want)
	}
}

// groups asks everything of groups of seven rows.
func groups(b *sluice.Batch) error {
	c := new(checks)
	large := b.Test(sluice.Bytes, sluice.Gt, 250) // all but the first two

	customers := b.Group([]sluice.Column{sluice.CustomerID}, nil)
	check(c, "firsts", customers.Firsts(), 0, 1, 3)
	check(c, "count", []int{customers.Count()}, 3)
	check(c, "of rows", customers.OfRows(), 0, 1, 0, 2, 1, 0, 1)
	check(c, "counts", customers.Counts(nil), 3, 3, 1)
	check(c, "counts of large", customers.Counts(large), 2, 2, 1)
	check(c, "sums", customers.Sums(sluice.Bytes, nil, nil), 1000, 1400, 400)
	check(c, "sums with times", customers.Sums(sluice.Bytes, sluice.Packets, nil), 4600, 7800, 1600)
	check(c, "sums of large", customers.Sums(sluice.Bytes, nil, large), 900, 1200, 400)
	check(c, "sums of large with times", customers.Sums(sluice.Bytes, sluice.Packets, large), 4500, 7400, 1600)
	check(c, "numbers", customers.Numbers(sluice.CustomerID), 7, 9, 0)
	check(c, "texts", customers.Texts(sluice.SrcCountry), "DE", "CH", "CH")

	places := b.Group([]sluice.Column{sluice.SrcCountry, sluice.SrcAddr}, nil)
	check(c, "places", places.Firsts(), 0, 1, 3, 4, 5)
	check(c, "places of rows", places.OfRows(), 0, 1, 0, 2, 3, 4, 1)
	check(c, "countries", places.Texts(sluice.SrcCountry), "DE", "CH", "CH", "CH", "CH")
	check(c, "low halves", places.Numbers(sluice.SrcAddr.Lo()), 0xffff_c000_0201, 1, 0xffff_c000_0201, 1, 2)

	rest := b.Group([]sluice.Column{sluice.CustomerID}, large)
	check(c, "firsts without the rest", rest.Firsts(), 2, 3, 4)
	check(c, "count with the rest", []int{rest.Count()}, 4)
	check(c, "of rows with the rest", rest.OfRows(), 3, 3, 0, 1, 2, 0, 2)
	check(c, "counts with the rest", rest.Counts(nil), 2, 1, 2, 2)
	check(c, "sums with the rest", rest.Sums(sluice.Bytes, nil, nil), 900, 400, 1200, 300)
	check(c, "numbers without the rest", rest.Numbers(sluice.CustomerID), 7, 0, 9)

	check(c, "one group", b.Group(nil, nil).Counts(nil), 7)
	check(c, "numbers at", b.NumbersAt(sluice.Bytes, []uint32{6, 0, 0}), 700, 100, 100)
	check(c, "texts at", b.TextsAt(sluice.SrcCountry, []uint32{6, 0}), "CH", "DE")
	return c.err
}

func groupsBig(b *sluice.Batch) error {
	c := new(checks)
	protos := b.Group([]sluice.Column{sluice.Proto}, nil)
	check(c, "sums", protos.Sums(sluice.Bytes, nil, nil), 1<<53+1, 1<<63+1, 1<<64-1)
	check(c, "sums with times", protos.Sums(sluice.Bytes, sluice.Packets, nil), 1<<53+1, 1<<64-1, 1<<64-1)
	check(c, "numbers", protos.Numbers(sluice.Bytes), 1<<53+1, 1<<63+1, 1<<63+1)
	check(c, "numbers at", b.NumbersAt(sluice.Bytes, []uint32{3}), 1<<63)
	return c.err
}

// groupsKeep keeps the groups of all customers but 9.
func groupsKeep(b *sluice.Batch) {
	customers := b.Group([]sluice.Column{sluice.CustomerID}, nil)
	keep := customers.Bitmap()
	for group, customer := range customers.Numbers(sluice.CustomerID) {
		if customer != 9 {
			keep.Set(group)
		}
	}
	customers.Keep(keep)
}

// groupsMany keeps ports from 32 on, the 32nd and the 34th group.
func groupsMany(b *sluice.Batch) {
	ports := b.Group([]sluice.Column{sluice.DstPort}, nil)
	keep := ports.Bitmap()
	keep.Set(31)
	keep.Set(33)
	ports.Keep(keep)
}

// groupsRoute gives each customer a route.
func groupsRoute(b *sluice.Batch) {
	customers := b.Group([]sluice.Column{sluice.CustomerID}, b.Test(sluice.CustomerID, sluice.Ne, 0))
	var names []string
	index := make([]uint16, customers.Count())
	for group, customer := range customers.Numbers(sluice.CustomerID) {
		names = append(names, "customer-"+strconv.FormatUint(customer, 10))
		index[group] = uint16(group)
	}
	index[len(index)-1] = uint16(len(names))
	customers.Route(append(names, "unknown"), index)
}

func groupsNone(b *sluice.Batch) error {
	c := new(checks)
	none := b.Group([]sluice.Column{sluice.CustomerID}, nil)
	check(c, "count", []int{none.Count(), len(none.OfRows()), len(none.Counts(nil))}, 0, 0, 0)
	none.Keep(none.Bitmap())
	none.Route(nil, nil)
	rest := b.Group([]sluice.Column{sluice.CustomerID}, b.Test(sluice.CustomerID, sluice.Ne, 0))
	check(c, "count of the rest", rest.Counts(nil), 0)
	rest.Route([]string{"rest"}, []uint16{0})
	return c.err
}

func groupsAbsent(b *sluice.Batch) error {
	c := new(checks)
	all := b.Group([]sluice.Column{sluice.CustomerID, sluice.SrcCountry, sluice.SrcAddr}, nil)
	check(c, "firsts", all.Firsts(), 0)
	check(c, "counts", all.Counts(nil), 2)
	check(c, "sums", all.Sums(sluice.Bytes, sluice.Packets, nil), 0)
	check(c, "numbers", all.Numbers(sluice.CustomerID), 0)
	check(c, "texts", all.Texts(sluice.SrcCountry), "")
	return c.err
}

// groupsDenied is refused in each way that groups have; the batch goes on because b.Err() was asked.
func groupsDenied(b *sluice.Batch) error {
	b.Group([]sluice.Column{sluice.Proto, sluice.ASPath}, nil)
	say(b.Err(), sluice.ErrWrongWidth)
	b.Group([]sluice.Column{sluice.ICMPType}, nil)
	say(b.Err(), sluice.ErrNotGranted)
	many := []sluice.Column{
		sluice.Proto, sluice.SrcPort, sluice.DstPort, sluice.SrcAS, sluice.Bytes, sluice.SrcCountry, sluice.Packets,
		sluice.SrcAddr,
	}
	b.Group(many, nil)
	say(b.Err(), sluice.ErrOutOfRange)
	b.Group(nil, make(sluice.Bitmap, 2))
	say(b.Err(), sluice.ErrWrongLength)

	g := b.Group(many[:7], nil)
	g.Counts(make(sluice.Bitmap, 2))
	say(b.Err(), sluice.ErrWrongLength)
	g.Sums(sluice.Bytes, nil, make(sluice.Bitmap, 2))
	say(b.Err(), sluice.ErrWrongLength)
	g.Sums(sluice.SrcCountry, sluice.Packets, nil)
	say(b.Err(), sluice.ErrWrongWidth)
	g.Sums(sluice.Bytes, sluice.SrcCountry, nil)
	say(b.Err(), sluice.ErrWrongWidth)
	g.Keep(make(sluice.Bitmap, 2))
	say(b.Err(), sluice.ErrWrongLength)
	g.Route([]string{"a"}, []uint16{0})
	say(b.Err(), sluice.ErrWrongLength)
	g.Route([]string{"a"}, []uint16{0, 1})
	say(b.Err(), sluice.ErrOutOfRange)
	g.Numbers(sluice.SrcCountry)
	say(b.Err(), sluice.ErrWrongWidth)
	g.Texts(sluice.TextColumn(sluice.Bytes))
	say(b.Err(), sluice.ErrWrongWidth)
	b.NumbersAt(sluice.Bytes, []uint32{2})
	say(b.Err(), sluice.ErrOutOfRange)
	b.TextsAt(sluice.SrcCountry, []uint32{2})
	say(b.Err(), sluice.ErrOutOfRange)

	// What is asked of a grouping that was refused, and of one that another has taken the place of.
	c := new(checks)
	refused := b.Group(many, b.Bitmap())
	check(c, "refused", []int{len(refused.OfRows()), len(refused.Counts(nil)), len(refused.Sums(sluice.Bytes, nil, nil))}, 2, 2, 2)
	b.Err()
	refused.Route([]string{"wrong"}, []uint16{0, 0})
	say(b.Err(), sluice.ErrOutOfRange)
	g.Route([]string{"wrong"}, []uint16{0, 0})
	if !errors.Is(b.Err(), sluice.ErrRegrouped) {
		return errors.New("not refused as it should be")
	}
	b.Group(many[:1], nil).Route([]string{"a", "b"}, []uint16{1, 0})
	return c.err
}

// absent reads columns that no row has.
func absent(b *sluice.Batch) error {
	zeros := !b.Has(sluice.Bytes) && !b.Has(sluice.SrcAddr) && len(b.U8s(sluice.Proto)) == b.Rows()
	for row := range b.Rows() {
		zeros = zeros && b.U8s(sluice.Proto)[row] == 0 && b.U16s(sluice.DstPort)[row] == 0 && b.U32s(sluice.SrcAS)[row] == 0
		zeros = zeros && b.U64s(sluice.Bytes)[row] == 0 && b.Addrs(sluice.SrcAddr).At(row) == [16]byte{}
		zeros = zeros && b.Texts(sluice.SrcCountry).At(row) == "" && len(b.Lists(sluice.ASPath).At(row)) == 0
	}
	zeros = zeros && b.Test(sluice.Bytes, sluice.Gt, 0).Count() == 0 && b.Sum(sluice.Bytes, b.Bitmap()) == 0
	if !zeros {
		return errors.New("an absent column is not zeros")
	}
	sluice.Count("absent", 1)
	return nil
}

// denied is refused in each way there is within a batch; the batch goes on because b.Err() was asked.
func denied(b *sluice.Batch) error {
	b.SetU8s(sluice.TTL, make([]uint8, b.Rows()))
	say(b.Err(), sluice.ErrNotGranted)
	b.U8s(sluice.ICMPType)
	say(b.Err(), sluice.ErrNotGranted)
	b.U32s(sluice.U32Column(sluice.Bytes))
	say(b.Err(), sluice.ErrWrongWidth)
	b.SetU32s(sluice.CustomerID, make([]uint32, b.Rows()+1))
	say(b.Err(), sluice.ErrWrongLength)
	b.Keep(make(sluice.Bitmap, 1+b.Rows()/32+1))
	say(b.Err(), sluice.ErrWrongLength)
	codes := make([]uint32, b.Rows())
	codes[0] = 1
	b.SetTexts(sluice.Note, sluice.Texts{Words: []string{""}, Codes: codes})
	say(b.Err(), sluice.ErrOutOfRange)
	b.Route([]string{"a"}, make([]uint16, b.Rows()))
	if err := b.Err(); err != nil {
		return err
	}
	return nil
}

// say logs a refusal and counts it if it is what it should be.
func say(err error, want error) {
	var why *sluice.Denied
	if !errors.As(err, &why) || !errors.Is(err, want) {
		sluice.Log(sluice.LevelError, "not refused as it should be")
		return
	}
	sluice.Count("refused", 1)
	sluice.Log(sluice.LevelInfo, err.Error())
}

// garbage makes two megabytes of it.
func (p *calls) garbage(b *sluice.Batch) {
	for row := range b.Rows() {
		p.data = make([]byte, 2<<20/b.Rows())
		p.data[0] = byte(row)
	}
}

// goroutines reads columns in some and adds them up in another.
func goroutines(b *sluice.Batch) {
	values, sum := make(chan uint64), make(chan uint64)
	go func() {
		total := uint64(0)
		for value := range values {
			total += value
		}
		sum <- total
	}()
	var readers sync.WaitGroup
	for _, column := range []sluice.U64Column{sluice.Bytes, sluice.SrcAddr.Lo()} {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for _, value := range b.U64s(column) {
				values <- value & 0xff
				runtime.Gosched()
			}
		}()
	}
	readers.Wait()
	close(values)
	sluice.Count("sum", uint32(<-sum))
}

func table(b *sluice.Batch) error {
	t, err := sluice.OpenTable("t")
	if err != nil {
		return err
	}
	defer t.Close()
	if _, err := sluice.OpenTable("none"); err != nil {
		sluice.Log(sluice.LevelInfo, err.Error())
	}
	codes, again := t.Lookup(b, sluice.SrcAddr), t.LookupAddrs(b.Addrs(sluice.SrcAddr))
	for row, code := range codes {
		if again[row] != code {
			return errors.New("two codes for one address")
		}
		if value, ok := t.Value(code); ok != (value != "") {
			return errors.New("a value is a text")
		}
	}
	// What the first one blanks the second one keeps.
	first := b.Bitmap()
	first.Set(0)
	t.LookupInto(b, sluice.ByAddr(sluice.SrcAddr), sluice.CustomerID, first, sluice.BlankOthers)
	for row := 1; row < b.Rows(); row++ {
		rest := b.Bitmap()
		rest.Set(row)
		t.LookupInto(b, sluice.ByAddr(sluice.SrcAddr), sluice.CustomerID, rest, sluice.KeepOthers)
	}
	if t.LookupInto(b, sluice.ByAddr(sluice.DstAddr), sluice.CustomerID, nil, sluice.BlankOthers) {
		return errors.New("no row has a destination")
	}
	sluice.Gauge("codes", float64(t.Codes()))
	sluice.Gauge("generation", float64(t.Generation()))
	return nil
}

// values adds up what the table has for each kind of key.
func values(b *sluice.Batch) error {
	t, err := sluice.OpenTable("t")
	if err != nil {
		return err
	}
	defer t.Close()
	sum := func(name string, codes []uint32) {
		sum := 0
		for _, code := range codes {
			value, _ := t.Value(code)
			number, _ := strconv.Atoi(value)
			sum += number
		}
		sluice.Count(name, uint32(sum))
	}
	sum("numbers", t.LookupNumber(b, sluice.Proto))
	sum("pairs", t.LookupNumbers(b, sluice.Proto, sluice.DstPort))
	sum("addressed", t.LookupAddressed(b, sluice.SrcAddr, sluice.DstPort))
	sum("lists", t.LookupAddrs(sluice.Addrs{Hi: []uint64{0, 6}, Lo: []uint64{6, 443}}))
	return nil
}

func key(b *sluice.Batch) error {
	k, err := sluice.OpenKey("k")
	if err != nil {
		return err
	}
	defer k.Close()
	before := k.PRF(b.Addrs(sluice.SrcAddr))
	k.PrefixPreserving(b, sluice.SrcAddr)
	k.KeyedHash(b, sluice.DstAddr)
	for row, number := range k.PRF(b.Addrs(sluice.SrcAddr)) {
		if number == before[row] {
			return errors.New("an address is as it was")
		}
	}
	return nil
}
