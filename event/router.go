package event

// A Handler does something with payloads of one type; [On] makes it. T is what it works on: a state, a batch of
// proposals, or whatever the caller of [Router.Route] passes.
type Handler[T any] struct {
	typ  Registered
	call func(T, Event) error
}

// On returns the handler that calls f with the payload of each event of P's kind, lifted to the current version.
func On[T any, P Payload](f func(t T, e Event, p P) error) Handler[T] {
	if f == nil {
		return Handler[T]{} // which NewRouter refuses
	}
	typ := Register[P]()
	return Handler[T]{typ, func(t T, e Event) error {
		p, err := decodeAs[P](typ.typ, e)
		if err != nil {
			return err
		}
		return f(t, e, p)
	}}
}

// A Router hands each event to the handler of its kind. It does not change, and may be used from any goroutine.
type Router[T any] struct {
	registry *Registry
	calls    map[Kind]func(T, Event) error
}

// NewRouter returns the router to these handlers. It fails as [NewRegistry] does with their types.
func NewRouter[T any](handlers ...Handler[T]) (*Router[T], error) {
	r := &Router[T]{&Registry{map[Kind]Registered{}}, map[Kind]func(T, Event) error{}}
	for _, h := range handlers {
		if err := r.registry.add(h.typ); err != nil {
			return nil, err
		}
		r.calls[h.typ.typ.Kind] = h.call
	}
	return r, nil
}

// Types returns the types that have a handler, in the order of their kinds.
func (r *Router[T]) Types() []Type { return r.registry.Types() }

// Route calls the handler of e's kind with t. Without one it does nothing and reports false. The error is that of
// [Decode] or of the handler.
func (r *Router[T]) Route(t T, e Event) (handled bool, err error) {
	call, ok := r.calls[e.Kind]
	if !ok {
		return false, nil
	}
	return true, call(t, e)
}
