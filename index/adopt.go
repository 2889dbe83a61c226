package index

import "fmt"

// Adopt replaces what is folded by what is folded into y, which must end at the same position and have no tail, because
// x's own proved damaged. The tail stays. The caller must not fold meanwhile, and may close x's old database afterwards.
func (x *Index) Adopt(y *Index) error {
	if x.Position() != y.Position() {
		return fmt.Errorf("index: folded up to event %d where %d is needed", y.Position().Seq, x.Position().Seq)
	}
	x.db = y.db
	x.meta.Store(y.meta.Load())
	return nil
}
