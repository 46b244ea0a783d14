namespace shoestring {
const char* core_version() noexcept;
const char* core_version() noexcept { return "0.1.0"; }
}  // namespace shoestring
