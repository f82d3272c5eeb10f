#include "engine/artifact/pickle_machine.h"

#include <bit>
#include <cstring>
#include <deque>
#include <iterator>
#include <set>
#include <string_view>
#include <unordered_map>

namespace switchyard {
namespace {

static_assert(std::endian::native == std::endian::little, "pickled integers are read as they lie");
constexpr size_t kMaxPickleBytes = 8 << 20, kMaxRank = 16, kMaxNameBytes = 1024, kMaxKeyDigits = 20;

enum class Kind {
  kNone,
  kBool,
  kInt,
  kFloat,
  kText,
  kTuple,
  kList,
  kDict,
  kOrderedDict,
  kRebuildTensor,
  kRebuildParameter,
  kStorageType,
  kStorage,
  kTensor
};

std::string_view KindName(Kind kind) {
  constexpr std::string_view kNames[] = {
      "None",       "a bool",     "an int",         "a float",   "a string", "a tuple", "a list", "a dict", "the type OrderedDict",
      "a function", "a function", "a storage type", "a storage", "a tensor"};
  return kNames[static_cast<size_t>(kind)];
}

struct Global {
  std::string_view module, name;
  Kind kind;
  DType dtype = DType::kF32;  // of storage types
};
constexpr Global kGlobals[] = {
    {"collections", "OrderedDict", Kind::kOrderedDict},
    {"torch._utils", "_rebuild_tensor_v2", Kind::kRebuildTensor},
    {"torch._utils", "_rebuild_parameter", Kind::kRebuildParameter},
    {"torch", "FloatStorage", Kind::kStorageType, DType::kF32},
    {"torch", "HalfStorage", Kind::kStorageType, DType::kF16},
    {"torch", "BFloat16Storage", Kind::kStorageType, DType::kBF16},
    {"torch", "DoubleStorage", Kind::kStorageType, DType::kF64},
    {"torch", "LongStorage", Kind::kStorageType, DType::kI64},
    {"torch", "IntStorage", Kind::kStorageType, DType::kI32},
    {"torch", "ShortStorage", Kind::kStorageType, DType::kI16},
    {"torch", "CharStorage", Kind::kStorageType, DType::kI8},
    {"torch", "ByteStorage", Kind::kStorageType, DType::kU8},
    {"torch", "BoolStorage", Kind::kStorageType, DType::kBool},
};

// Values refer to one another by number, so that nothing nested needs a recursion, not even to be freed.
using Id = uint32_t;
struct Value {
  Kind kind = Kind::kNone;
  int64_t number = 0;     // bool, int, storage's elements, tensor's index
  std::string text;       // string, storage's key
  std::vector<Id> items;  // tuple, list; dict: key, value, key, value, ...
  DType dtype = DType::kF32;
};

class Machine {
 public:
  Machine(std::span<const std::byte> pickle, const std::string& path) : bytes_(pickle), path_(path) {}

  StatusOr<std::vector<std::pair<std::string, PickledTensor>>> Run() {
    while (!stopped_) {
      op_at_ = at_;
      ASSIGN_OR_RETURN(const uint8_t opcode, Raw<uint8_t>());
      RETURN_IF_ERROR(Step(opcode));
    }
    if (at_ != bytes_.size()) return Broken("the pickle ends here, %d bytes follow", bytes_.size() - at_);
    if (stack_.size() != 1 || !marks_.empty()) return Broken("the pickle ends with %d values, expected one", stack_.size());
    return StateDict(stack_[0]);
  }

 private:
  template <typename... Args>
  Status Broken(const absl::FormatSpec<Args...>& format, const Args&... args) const {
    return DataLoss("%s: byte %d: %s", path_, op_at_, absl::StrFormat(format, args...));
  }
  template <typename... Args>
  Status Refused(const absl::FormatSpec<Args...>& format, const Args&... args) const {
    return Unimplemented("%s: byte %d: %s", path_, op_at_, absl::StrFormat(format, args...));
  }

  // ---- bytes
  template <typename T>
  StatusOr<T> Raw() {
    if (bytes_.size() - at_ < sizeof(T)) return Broken("the pickle is cut short");
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  StatusOr<std::string_view> Text(uint64_t length) {
    if (length > bytes_.size() - at_) return Broken("a string of %d bytes, %d are left", length, bytes_.size() - at_);
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + at_, length);
    at_ += length;
    return text;
  }
  StatusOr<std::string_view> Line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + at_, bytes_.size() - at_);
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) return Broken("the pickle is cut short");
    at_ += end + 1;
    return rest.substr(0, end);
  }

  // ---- stack
  Status Push(Value value) {
    values_.push_back(std::move(value));
    stack_.push_back(static_cast<Id>(values_.size() - 1));
    return OkStatus();
  }
  Status PushNumber(Kind kind, int64_t number) {
    Value value;
    value.kind = kind;
    value.number = number;
    return Push(std::move(value));
  }
  Status PushText(StatusOr<std::string_view> text) {
    RETURN_IF_ERROR(text.status());
    Value value;
    value.kind = Kind::kText;
    value.text = std::string(*text);
    return Push(std::move(value));
  }
  // Values below the last mark are out of reach until it is taken.
  size_t Floor() const { return marks_.empty() ? 0 : marks_.back(); }
  StatusOr<Id> Pop() {
    if (stack_.size() <= Floor()) return Broken("a value is missing");
    const Id id = stack_.back();
    stack_.pop_back();
    return id;
  }
  StatusOr<std::vector<Id>> PopToMark() {
    if (marks_.empty()) return Broken("a mark is missing");
    std::vector<Id> items(stack_.begin() + static_cast<ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }
  StatusOr<std::vector<Id>> PopSome(size_t count) {
    if (stack_.size() - Floor() < count) return Broken("a value is missing");
    std::vector<Id> items(stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return items;
  }
  StatusOr<Value*> Top(Kind kind) {
    if (stack_.size() <= Floor()) return Broken("a value is missing");
    Value& value = values_[stack_.back()];
    if (value.kind != kind) return Broken("%s, expected %s", KindName(value.kind), KindName(kind));
    return &value;
  }

  // ---- opcodes
  Status Step(uint8_t opcode) {
    switch (opcode) {
      case 0x80:
        return Protocol();
      case 0x95:
        return Raw<uint64_t>().status();  // FRAME: a hint for readers of streams
      case '.':
        stopped_ = true;
        return OkStatus();  // STOP
      case '(':
        marks_.push_back(stack_.size());
        return OkStatus();
      case 'N':
        return PushNumber(Kind::kNone, 0);
      case 0x88:
        return PushNumber(Kind::kBool, 1);
      case 0x89:
        return PushNumber(Kind::kBool, 0);
      case 'J':
        return Int<int32_t>();  // BININT
      case 'K':
        return Int<uint8_t>();  // BININT1
      case 'M':
        return Int<uint16_t>();  // BININT2
      case 0x8a:
        return Long();  // LONG1
      case 'G':
        RETURN_IF_ERROR(Raw<uint64_t>().status());
        return PushNumber(Kind::kFloat, 0);
      case 0x8c:
        return Unicode<uint8_t>();  // SHORT_BINUNICODE
      case 'X':
        return Unicode<uint32_t>();  // BINUNICODE
      case 0x8d:
        return Unicode<uint64_t>();  // BINUNICODE8
      case ')':
        return Sequence(Kind::kTuple, std::vector<Id>());
      case 0x85:
        return Sequence(Kind::kTuple, PopSome(1));
      case 0x86:
        return Sequence(Kind::kTuple, PopSome(2));
      case 0x87:
        return Sequence(Kind::kTuple, PopSome(3));
      case 't':
        return Sequence(Kind::kTuple, PopToMark());
      case ']':
        return Sequence(Kind::kList, std::vector<Id>());
      case 'a':
        return Append(PopSome(1));
      case 'e':
        return Append(PopToMark());
      case '}':
        return Sequence(Kind::kDict, std::vector<Id>());
      case 's':
        return SetItems(PopSome(2));
      case 'u':
        return SetItems(PopToMark());
      case 'q':
        return Put(Raw<uint8_t>());
      case 'r':
        return Put(Raw<uint32_t>());
      case 0x94:
        return Memoize(static_cast<uint32_t>(memo_.size()));
      case 'h':
        return Fetch(Raw<uint8_t>());
      case 'j':
        return Fetch(Raw<uint32_t>());
      case 'c':
        return NamedGlobal();
      case 0x93:
        return StackGlobal();
      case 'Q':
        return PersistentId();
      case 'R':
        return Reduce();
      case 'b':
        return Build();
      default:
        return Refused("opcode 0x%02x is not one a state dict needs", opcode);
    }
  }

  Status Protocol() {
    ASSIGN_OR_RETURN(const uint8_t version, Raw<uint8_t>());
    return version >= 2 && version <= 5 ? OkStatus() : Refused("pickle protocol %d, expected 2 to 5", version);
  }
  template <typename T>
  Status Int() {
    ASSIGN_OR_RETURN(const T value, Raw<T>());
    return PushNumber(Kind::kInt, value);
  }
  Status Long() {
    ASSIGN_OR_RETURN(const uint8_t length, Raw<uint8_t>());
    if (length > 8) return Refused("an integer of %d bytes, expected at most 8", length);
    ASSIGN_OR_RETURN(const std::string_view raw, Text(length));
    uint64_t bits = !raw.empty() && (raw.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
    std::memcpy(&bits, raw.data(), raw.size());
    return PushNumber(Kind::kInt, static_cast<int64_t>(bits));
  }
  template <typename T>
  Status Unicode() {
    ASSIGN_OR_RETURN(const T length, Raw<T>());
    return PushText(Text(length));
  }
  Status Sequence(Kind kind, StatusOr<std::vector<Id>> items) {
    RETURN_IF_ERROR(items.status());
    Value value;
    value.kind = kind;
    value.items = *std::move(items);
    return Push(std::move(value));
  }
  Status Append(StatusOr<std::vector<Id>> items) {
    RETURN_IF_ERROR(items.status());
    ASSIGN_OR_RETURN(Value* const list, Top(Kind::kList));
    list->items.insert(list->items.end(), items->begin(), items->end());
    return OkStatus();
  }
  Status SetItems(StatusOr<std::vector<Id>> items) {
    RETURN_IF_ERROR(items.status());
    if (items->size() % 2 != 0) return Broken("a key without a value");
    ASSIGN_OR_RETURN(Value* const dict, Top(Kind::kDict));
    dict->items.insert(dict->items.end(), items->begin(), items->end());
    return OkStatus();
  }

  // ---- memo
  template <typename T>
  Status Put(StatusOr<T> index) {
    RETURN_IF_ERROR(index.status());
    return Memoize(*index);
  }
  Status Memoize(uint32_t index) {
    if (stack_.size() <= Floor()) return Broken("a value is missing");
    memo_[index] = stack_.back();
    return OkStatus();
  }
  template <typename T>
  Status Fetch(StatusOr<T> index) {
    RETURN_IF_ERROR(index.status());
    const auto found = memo_.find(*index);
    if (found == memo_.end()) return Broken("memo %d was never written", *index);
    stack_.push_back(found->second);
    return OkStatus();
  }

  // ---- globals and what calling them gives
  Status NamedGlobal() {
    ASSIGN_OR_RETURN(const std::string_view module, Line());
    ASSIGN_OR_RETURN(const std::string_view name, Line());
    return PushGlobal(module, name);
  }
  Status StackGlobal() {
    ASSIGN_OR_RETURN(const std::vector<Id> names, PopSome(2));
    const Value &module = values_[names[0]], &name = values_[names[1]];
    if (module.kind != Kind::kText || name.kind != Kind::kText) return Broken("a global's name is not a string");
    return PushGlobal(module.text, name.text);
  }
  Status PushGlobal(std::string_view module, std::string_view name) {
    for (const Global& global : kGlobals) {
      if (global.module != module || global.name != name) continue;
      Value value;
      value.kind = global.kind;
      value.dtype = global.dtype;
      return Push(std::move(value));
    }
    return Refused("the global %s.%s is not one a state dict of tensors needs; nothing was executed", module.substr(0, 80),
                   name.substr(0, 80));
  }

  // ('storage', type, key, location, elements)
  Status PersistentId() {
    ASSIGN_OR_RETURN(const Id id, Pop());
    const Value& tuple = values_[id];
    constexpr Kind kKinds[] = {Kind::kText, Kind::kStorageType, Kind::kText, Kind::kText, Kind::kInt};
    bool fits = tuple.kind == Kind::kTuple && tuple.items.size() == std::size(kKinds);
    for (size_t i = 0; fits && i < tuple.items.size(); ++i) fits = values_[tuple.items[i]].kind == kKinds[i];
    if (!fits || values_[tuple.items[0]].text != "storage") return Broken("a persistent id that is no storage");
    const Value &type = values_[tuple.items[1]], &key = values_[tuple.items[2]], &elements = values_[tuple.items[4]];
    const bool digits =
        !key.text.empty() && key.text.size() <= kMaxKeyDigits && key.text.find_first_not_of("0123456789") == std::string::npos;
    if (!digits) return Broken("storage key \"%s\", expected a number", key.text.substr(0, 40));
    if (elements.number < 0) return Broken("a storage of %d elements", elements.number);
    Value storage;
    storage.kind = Kind::kStorage;
    storage.text = key.text;
    storage.dtype = type.dtype;
    storage.number = elements.number;
    return Push(std::move(storage));
  }

  Status Reduce() {
    ASSIGN_OR_RETURN(const std::vector<Id> call, PopSome(2));
    const Value &function = values_[call[0]], &arguments = values_[call[1]];
    if (arguments.kind != Kind::kTuple) return Broken("a call's arguments are %s, expected a tuple", KindName(arguments.kind));
    if (function.kind == Kind::kRebuildTensor) return RebuildTensor(arguments.items);
    if (function.kind == Kind::kRebuildParameter) {
      if (arguments.items.size() != 3 || values_[arguments.items[0]].kind != Kind::kTensor)
        return Broken("a parameter that is not made of a tensor");
      stack_.push_back(arguments.items[0]);
      return OkStatus();
    }
    if (function.kind != Kind::kOrderedDict) return Broken("a call of %s", KindName(function.kind));
    if (!arguments.items.empty()) return Refused("an OrderedDict made of arguments, expected none");
    return Sequence(Kind::kDict, std::vector<Id>());
  }

  // (storage, offset, shape, strides, requires_grad, backward_hooks[, metadata])
  Status RebuildTensor(const std::vector<Id>& arguments) {
    if (arguments.size() < 6 || arguments.size() > 7) return Broken("a tensor made of %d arguments, expected 6 or 7", arguments.size());
    const Value &storage = values_[arguments[0]], &offset = values_[arguments[1]], &hooks = values_[arguments[5]];
    if (storage.kind != Kind::kStorage || offset.kind != Kind::kInt) return Broken("a tensor that is not made of a storage and an offset");
    if (hooks.kind != Kind::kDict || !hooks.items.empty()) return Refused("a tensor with backward hooks");
    // Bits such as "conjugated" or "negated" would change the values.
    if (arguments.size() == 7 && (values_[arguments[6]].kind != Kind::kDict || !values_[arguments[6]].items.empty()))
      return Refused("a tensor with metadata");
    PickledTensor tensor{storage.text, storage.dtype, storage.number, offset.number, {}, {}};
    RETURN_IF_ERROR(Sizes(values_[arguments[2]], &tensor.shape));
    RETURN_IF_ERROR(Sizes(values_[arguments[3]], &tensor.strides));
    if (tensor.offset < 0) return Broken("a tensor at offset %d of its storage", tensor.offset);
    if (tensor.shape.size() != tensor.strides.size())
      return Broken("a tensor of %d sizes and %d strides", tensor.shape.size(), tensor.strides.size());
    tensors_.push_back(std::move(tensor));
    return PushNumber(Kind::kTensor, static_cast<int64_t>(tensors_.size() - 1));
  }
  Status Sizes(const Value& tuple, std::vector<int64_t>* out) const {
    if (tuple.kind != Kind::kTuple || tuple.items.size() > kMaxRank)
      return Broken("a tensor's sizes and strides must be tuples of at most %d numbers", kMaxRank);
    for (const Id id : tuple.items) {
      if (values_[id].kind != Kind::kInt || values_[id].number < 0)
        return Broken("a tensor's sizes and strides must be non-negative integers");
      out->push_back(values_[id].number);
    }
    return OkStatus();
  }

  // The attributes of an OrderedDict (a state dict's `_metadata`) say nothing about values.
  Status Build() {
    RETURN_IF_ERROR(Pop().status());
    return Top(Kind::kDict).status();
  }

  StatusOr<std::vector<std::pair<std::string, PickledTensor>>> StateDict(Id top) const {
    const Value& dict = values_[top];
    if (dict.kind != Kind::kDict) return Refused("the file holds %s, expected a state dict", KindName(dict.kind));
    std::vector<std::pair<std::string, PickledTensor>> tensors;
    std::set<std::string_view> names;
    for (size_t i = 0; i < dict.items.size(); i += 2) {
      const Value &name = values_[dict.items[i]], &value = values_[dict.items[i + 1]];
      if (name.kind != Kind::kText) return Refused("a key of the state dict is %s, expected a string", KindName(name.kind));
      if (name.text.size() > kMaxNameBytes) return Broken("a name of %d bytes is over the limit of %d", name.text.size(), kMaxNameBytes);
      if (value.kind != Kind::kTensor) {
        return Refused("\"%s\" is %s, expected a tensor: only a flat state dict is read, not a whole training checkpoint",
                       name.text.substr(0, 200), KindName(value.kind));
      }
      if (!names.insert(name.text).second) return Broken("\"%s\" is there twice", name.text.substr(0, 200));
      tensors.emplace_back(name.text, tensors_[static_cast<size_t>(value.number)]);
    }
    return tensors;
  }

  const std::span<const std::byte> bytes_;
  const std::string path_;
  size_t at_ = 0, op_at_ = 0;
  bool stopped_ = false;
  std::deque<Value> values_;  // addresses stay
  std::vector<PickledTensor> tensors_;
  std::vector<Id> stack_;
  std::vector<size_t> marks_;  // sizes of the stack
  std::unordered_map<uint32_t, Id> memo_;
};
}  // namespace

StatusOr<std::vector<std::pair<std::string, PickledTensor>>> ReadPickledStateDict(std::span<const std::byte> pickle,
                                                                                  const std::string& name) {
  // A value takes some 70 bytes for each of the pickle; 40000 tensors fit.
  if (pickle.size() > kMaxPickleBytes)
    return DataLoss("%s: a pickle of %d bytes is over the limit of %d", name, pickle.size(), kMaxPickleBytes);
  return Machine(pickle, name).Run();
}

}  // namespace switchyard
