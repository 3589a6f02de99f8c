package main

import (
	"testing"

	"sluice"
)

// What needs no collector is tested natively, with go test; tests/filter.toml tests the component.
func TestLargeTCPFlowsToHTTPSAreChosen(t *testing.T) {
	keep := sluice.NewBitmap(5)
	choose(keep,
		[]uint8{6, 17, 6, 6, 6},
		[]uint16{443, 443, 80, 443, 443},
		[]uint64{20_000, 20_000, 20_000, 10_000, 10_001},
		10_000)
	if !keep.Has(0) || !keep.Has(4) || keep.Count() != 2 {
		t.Errorf("kept %b", keep)
	}
}

func TestAMistypedKeyIsAnErrorThatNamesTheRightOnes(t *testing.T) {
	_, err := new(filter).Init([]byte(`{"customer_id": 7, "min_byte": 1}`))
	const want = "unknown key `min_byte`, expected `customer_id` or `min_bytes`"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
