package native_test

import (
	"errors"
	"fmt"
	"testing"

	"sluice"
)

func TestABitmapIsTheSetOfItsRows(t *testing.T) {
	a, b := sluice.NewBitmap(70), sluice.NewBitmap(70)
	if len(a) != 3 {
		t.Fatalf("%d words for 70 rows", len(a))
	}
	for row := range 70 {
		if row%2 == 0 {
			a.Set(row)
		}
		if row%3 == 0 {
			b.Set(row)
		}
	}
	if a.Count() != 35 || b.Count() != 24 || !a.Has(64) || a.Has(65) {
		t.Error("wrong rows")
	}
	both := append(sluice.Bitmap(nil), a...)
	both.And(b)
	either := append(sluice.Bitmap(nil), a...)
	either.Or(b)
	only := append(sluice.Bitmap(nil), a...)
	only.AndNot(b)
	if both.Count() != 12 || either.Count() != 47 || only.Count() != 23 {
		t.Errorf("and %d, or %d, and not %d", both.Count(), either.Count(), only.Count())
	}
	a.Unset(64)
	if a.Has(64) || a.Count() != 34 {
		t.Error("row 64 is still chosen")
	}
}

func TestARefusalNamesTheColumnAndIsItsReason(t *testing.T) {
	for want, denied := range map[string]*sluice.Denied{
		"column `bytes`: the stage's grant does not cover it": {Column: uint16(sluice.Bytes), Reason: sluice.ErrNotGranted},
		"column 600: it holds u32":                            {Column: 600, Reason: sluice.ErrWrongWidth, Width: sluice.W32},
		"the batch wants a length of 2":                       {Reason: sluice.ErrWrongLength, Length: 2},
	} {
		if denied.Error() != want {
			t.Errorf("got %q, want %q", denied.Error(), want)
		}
		var found *sluice.Denied
		if err := fmt.Errorf("writing: %w", denied); !errors.Is(err, denied.Reason) || !errors.As(err, &found) {
			t.Errorf("%v is not %v", err, denied.Reason)
		}
	}
}

func TestAnErrorForLaterIsStillTheError(t *testing.T) {
	cause := errors.New("no table yet")
	if err := sluice.RetryLater(cause); !errors.Is(err, cause) || err.Error() != "no table yet" {
		t.Error(err)
	}
}

func TestAnAddressIsWrittenInNetworkOrder(t *testing.T) {
	a := sluice.Addrs{Hi: []uint64{0x20010db800000000}, Lo: []uint64{5}}
	if a.At(0) != [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 5} {
		t.Error(a.At(0))
	}
}
