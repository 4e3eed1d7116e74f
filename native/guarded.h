/* What the shim's source files share. */
#ifndef ARCRUN_GUARDED_H
#define ARCRUN_GUARDED_H

#include <cstring>
#include <exception>

#include <c10/util/Exception.h>

namespace arcrun {

// Runs `body`; an exception becomes the message that the C function returns.
template <typename Body>
char *guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &e) {
    return strdup(e.what_without_backtrace());
  } catch (const std::exception &e) {
    return strdup(e.what());
  } catch (...) {
    return strdup("an unknown C++ exception");
  }
}

}  // namespace arcrun

#endif
